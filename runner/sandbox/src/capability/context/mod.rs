//! `pgtq:plugin/context`, `log` and `progress`: facts about the task, its log and its
//! progress. Every handler has them.
//!
//! Each of our own functions charges fuel by call and by byte, so that a loop of host
//! calls ends like any other loop. WASI functions charge by call and by time, see
//! [`host_call`](crate::attempt::host_call).

pub(crate) mod facts;

use wasmtime::component::{Linker, LinkerInstance};

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::state::StoreData;
use crate::bindings::Level;
use crate::capability::registration::{Capability, no_services};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &[
        // Types alone: nothing is linked.
        "pgtq:plugin/types",
        "pgtq:plugin/context",
        "pgtq:plugin/log",
        "pgtq:plugin/progress",
    ],
    link,
    add_services: no_services,
};

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    link_context(&mut linker.instance("pgtq:plugin/context@1.0.0")?)?;
    link_log(&mut linker.instance("pgtq:plugin/log@1.0.0")?)?;
    link_progress(&mut linker.instance("pgtq:plugin/progress@1.0.0")?)
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

fn link_context(linker: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    fact!(linker, "task-id", facts::task_id);
    fact!(linker, "attempt", facts::attempt);
    fact!(linker, "queue", facts::queue);
    fact!(linker, "idempotency-key", facts::idempotency_key);
    fact!(linker, "pushed-at-ms", facts::pushed_at_ms);
    fact!(linker, "due-at-ms", facts::due_at_ms);
    fact!(linker, "is-cancelled", facts::is_cancelled);
    fact!(linker, "remaining-ms", facts::remaining_ms);
    import!(linker, "max-attempts", |state, ()| 0, {
        Ok((state.max_attempts,))
    });
    Ok(())
}

fn link_log(linker: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    import!(
        linker,
        "write",
        |state, (level: Level, message: String, fields: String)| message.len() + fields.len(),
        facts::log(state, level, &message, &fields)
    );
    import!(linker, "panicked", |state, (message: String)| message.len(), {
        facts::panicked(state, &message);
        Ok(())
    });
    Ok(())
}

fn link_progress(linker: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    import!(
        linker,
        "report",
        |state, (fraction: f64, message: String)| message.len(),
        {
            facts::progress(state, fraction, &message);
            Ok(())
        }
    );
    Ok(())
}
