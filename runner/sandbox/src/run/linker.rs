//! The host's side of the contract: every import of a plugin.
//!
//! Each of our own functions charges fuel by call and by byte, so that a loop of host
//! calls ends like any other loop. WASI functions charge by call and by time, see
//! [`host_call`](crate::attempt::host_call).

use wasmtime::component::{Linker, LinkerInstance};
use wasmtime::{Engine, StoreContextMut};

pub(crate) use crate::attempt::host_call::charge;
use crate::attempt::state::State;
use crate::bindings::Level;
use crate::capability;
use crate::capability::context;
use crate::capability::push;
use crate::wasi;

pub(crate) type Caller<'a> = StoreContextMut<'a, State>;

/// Everything that a plugin may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    link_context(&mut linker.instance("pgtq:plugin/context@1.0.0")?)?;
    link_log(&mut linker.instance("pgtq:plugin/log@1.0.0")?)?;
    link_progress(&mut linker.instance("pgtq:plugin/progress@1.0.0")?)?;
    link_push(&mut linker.instance("pgtq:plugin/push@1.0.0")?)?;
    capability::link(&mut linker)?;
    Ok(linker)
}

/// Adds one function: charges for it, then runs it with the state.
macro_rules! import {
    ($linker:ident, $name:literal, |$state:ident, ($($arg:ident: $type:ty),*)| $bytes:expr, $value:expr) => {
        $linker.func_wrap_async($name, |mut store: Caller<'_>, ($($arg,)*): ($($type,)*)| {
            Box::new(async move {
                charge(&mut store, $bytes).await?;
                let $state = store.data_mut();
                $value
            })
        })?;
    };
}

/// Adds one function that returns a fact about the task.
macro_rules! fact {
    ($linker:ident, $name:literal, $fact:path) => {
        import!($linker, $name, |state, ()| 0, Ok(($fact(state),)));
    };
}

fn link_context(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    fact!(linker, "task-id", context::task_id);
    fact!(linker, "attempt", context::attempt);
    fact!(linker, "queue", context::queue);
    fact!(linker, "idempotency-key", context::idempotency_key);
    fact!(linker, "pushed-at-ms", context::pushed_at_ms);
    fact!(linker, "due-at-ms", context::due_at_ms);
    fact!(linker, "is-cancelled", context::is_cancelled);
    fact!(linker, "remaining-ms", context::remaining_ms);
    import!(linker, "max-attempts", |state, ()| 0, {
        Ok((state.max_attempts,))
    });
    Ok(())
}

fn link_log(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    import!(
        linker,
        "write",
        |state, (level: Level, message: String, fields: String)| message.len() + fields.len(),
        context::log(state, level, &message, &fields)
    );
    import!(linker, "panicked", |state, (message: String)| message.len(), {
        context::panicked(state, &message);
        Ok(())
    });
    Ok(())
}

fn link_progress(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    import!(
        linker,
        "report",
        |state, (fraction: f64, message: String)| message.len(),
        {
            context::progress(state, fraction, &message);
            Ok(())
        }
    );
    Ok(())
}

fn link_push(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    import!(
        linker,
        "push",
        |state, (handler: String, args: String, options: String)| handler.len()
            + args.len()
            + options.len(),
        Ok((push::push(state, &handler, args, &options),))
    );
    Ok(())
}
