//! Capabilities: what handlers can do beyond computing. Each capability is one file that
//! links its imports; all are linked for every plugin and decide per call, so that a
//! grant takes effect without a reload.

pub(crate) mod context;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod push;
mod secrets;
mod sql;
mod state;
pub(crate) mod tcp;

use wasmtime::component::Linker;

use crate::attempt::state::State;
use crate::bindings::WireProblem;
use pgtq_task::Problem;

/// Links every capability.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    http::link(linker)?;
    sql::link(&mut linker.instance("pgtq:plugin/sql@1.0.0")?)?;
    state::link(&mut linker.instance("pgtq:plugin/state@1.0.0")?)?;
    secrets::link(&mut linker.instance("pgtq:plugin/secrets@1.0.0")?)
}

/// A problem as the guest sees it.
fn wire(problem: Problem) -> WireProblem {
    WireProblem {
        code: problem.code,
        message: problem.message,
    }
}

/// Makes the answer of one host call: charged, then run with its own handles, so that it
/// borrows nothing from the store while it waits.
macro_rules! answer {
    ($linker:ident, $name:literal, |$store:ident, ($($arg:ident: $type:ty),*)| $bytes:expr, $value:expr) => {
        $linker.func_wrap_async($name, |mut $store: crate::run::linker::Caller<'_>, ($($arg,)*): ($($type,)*)| {
            Box::new(async move {
                crate::run::linker::charge(&mut $store, $bytes).await?;
                let answer: Result<_, pgtq_task::Problem> = $value.await;
                Ok((answer.map_err(crate::capability::wire),))
            })
        })?;
    };
}
use answer;
