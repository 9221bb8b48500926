//! Links a function of our own contract whose error is a problem for the guest.

use crate::bindings::WireProblem;
use pgtq_task::GuestError;

/// A problem as the guest sees it.
pub(super) fn wire(problem: GuestError) -> WireProblem {
    WireProblem {
        code: problem.code,
        message: problem.message,
    }
}

/// Makes the answer of one host call: charged, then run with its own handles, so that it
/// borrows nothing from the store while it waits.
macro_rules! answer {
    ($linker:ident, $name:literal, |$store:ident, ($($arg:ident: $type:ty),*)| $bytes:expr, $value:expr) => {
        $linker.func_wrap_async($name, |mut $store: crate::attempt::host_call::Caller<'_>, ($($arg,)*): ($($type,)*)| {
            Box::new(async move {
                crate::attempt::host_call::charge(&mut $store, $bytes).await?;
                let answer: Result<_, pgtq_task::GuestError> = $value.await;
                Ok((answer.map_err(crate::capability::answer::wire),))
            })
        })?;
    };
}
pub(super) use answer;
