//! Functions of wasmtime that are replaced by ours.
//!
//! wasmtime finds a function under the name with the version that it was linked with. If
//! [`VERSION`] differed from wasmtime's, wasmtime's function would be called instead of
//! ours; tests of every denial guard against that.

use wasmtime_wasi::TrappableError;

/// The version of WASI that wasmtime 48 links.
pub(crate) const VERSION: &str = "0.2.12";
/// An answer as the guest sees it: an error is a value, a trap is a trap.
pub(crate) fn answered<T, E>(answer: Result<T, TrappableError<E>>) -> wasmtime::Result<Result<T, E>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Replaces a function of wasmtime by one of ours. It gets the state and returns a
/// `Result` whose error is trappable.
macro_rules! replace {
    ($instance:ident, $name:literal, |$state:ident, ($($arg:ident: $type:ty),*)| $answer:expr) => {
        $instance.func_wrap_async(
            $name,
            |mut store: crate::attempt::host_call::Caller<'_>, ($($arg,)*): ($($type,)*)| {
                Box::new(async move {
                    crate::attempt::host_call::charge(&mut store, 0).await?;
                    let $state = store.data_mut();
                    Ok((crate::wasi::replace::answered($answer.await)?,))
                })
            },
        )?;
    };
}
pub(crate) use replace;
