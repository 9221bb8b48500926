//! The direct path into an ordinary plugin: its main module without the component around
//! it.
//!
//! A component made by the usual tools has three core modules: the plugin's own, and two
//! that connect its imports to it. Most attempts need neither these two nor the
//! component's machinery, and setting all that up was half of an instance's cost. So the
//! compiler lets the component export its own module ([`expose`]), which costs no second
//! compilation, and an attempt starts in that module alone.
//!
//! The direct path supports the imports without effects outside of the attempt before its
//! end ([`imports`]). At anything else, or anything unexpected, it ends in a [`Detour`]:
//! the attempt has had no effect yet, so it is run again from its beginning, in the
//! component, which the contract is written for. Errors of bad guests are therefore
//! detected and worded in one place only.

mod expose;
mod imports;
mod memory;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use expose::EXPORT;
pub(crate) use expose::expose;
use futures_util::FutureExt;
use wasmtime::component;
use wasmtime::{
    AsContextMut, Engine, Instance, InstancePre, Linker, ModuleExport, Store, TypedFunc,
};

use self::memory::Guest;
use crate::attempt::state::State;
use crate::bindings::WireFailure;
use crate::run::attempt;
use pgtq_task::Limits;

/// Fuel for reaching the module: tables are filled, no guest code runs.
const LINK_FUEL: u64 = 100_000;
/// After a detour, the number of attempts of the same handler that start in the
/// component.
const PAUSE: u32 = 1_000;

/// Ends an attempt in the main module that must be run in the component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Detour(pub(super) &'static str);

impl fmt::Display for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs the whole component: {}", self.0)
    }
}

impl std::error::Error for Detour {}

/// How often a handler needed a detour recently. A clone counts for the same handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detours(Arc<AtomicU32>);

impl Detours {
    /// Of a handler that never leaves the component.
    #[cfg(test)]
    pub(crate) fn always() -> Detours {
        Detours(Arc::new(AtomicU32::new(u32::MAX)))
    }

    /// Whether the next attempt may try the direct path.
    pub(crate) fn may_go_direct(&self) -> bool {
        let left = self.0.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        left.is_err()
    }

    pub(crate) fn note(&self) {
        self.0.store(PAUSE, Relaxed);
    }
}

/// `(handler, its length, arguments, their length)`, or the four of `realloc`.
type Four = (u32, u32, u32, u32);

/// A plugin's main module, ready to be instantiated.
pub(crate) struct Direct {
    pre: InstancePre<State>,
    memory: ModuleExport,
    realloc: ModuleExport,
    run: ModuleExport,
    post_run: Option<ModuleExport>,
}

impl Direct {
    /// The main module of `component`, if [`expose`] exported it and it fits.
    pub(crate) fn link(component: &component::InstancePre<State>) -> Option<Direct> {
        let engine = component.engine();
        component.component().get_export_index(None, EXPORT)?;
        match Direct::of(engine, component) {
            Ok(direct) => direct,
            Err(error) => {
                tracing::debug!(%error, "a plugin always runs in its component");
                None
            }
        }
    }

    fn of(
        engine: &Engine,
        component: &component::InstancePre<State>,
    ) -> wasmtime::Result<Option<Direct>> {
        let limits = Arc::new(Limits {
            fuel: LINK_FUEL,
            ..Limits::default()
        });
        let mut store = attempt::store(engine, State::new(None, limits))?;
        // Never waits: a guest's start function would run out of fuel first.
        let instance = component.instantiate_async(&mut store).now_or_never();
        let Some(module) = instance
            .transpose()?
            .and_then(|instance| instance.get_module(&mut store, EXPORT))
        else {
            return Ok(None);
        };
        let mut linker = Linker::new(engine);
        imports::link(&mut linker, &module)?;
        let export = |name| module.get_export_index(name);
        if export("_initialize").is_some() {
            return Ok(None);
        }
        let (Some(memory), Some(realloc), Some(run)) =
            (export("memory"), export("cabi_realloc"), export("run"))
        else {
            return Ok(None);
        };
        Ok(Some(Direct {
            pre: linker.instantiate_pre(&module)?,
            memory,
            realloc,
            run,
            post_run: export("cabi_post_run"),
        }))
    }

    /// A new instance of the module.
    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        self.pre.instantiate_async(store).await
    }

    /// Calls a handler. The same as the component's `run`, or a [`Detour`].
    pub(crate) async fn call_run(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        handler: &str,
        args: &str,
    ) -> wasmtime::Result<Result<String, WireFailure>> {
        let mut export = |export| instance.get_module_export(&mut *store, export);
        let memory = export(&self.memory).and_then(wasmtime::Extern::into_memory);
        let realloc = export(&self.realloc).and_then(wasmtime::Extern::into_func);
        let run = export(&self.run).and_then(wasmtime::Extern::into_func);
        let post_run = self.post_run.as_ref().and_then(&mut export);
        let (Some(memory), Some(realloc), Some(run)) = (memory, realloc, run) else {
            return Err(Detour("an export of another kind").into());
        };
        let run: TypedFunc<Four, u32> = run.typed(&mut *store)?;
        let guest = Guest {
            memory,
            realloc: realloc.typed(&mut *store)?,
        };
        let handler_at = guest.write(&mut *store, handler).await?;
        let args_at = guest.write(&mut *store, args).await?;
        let returned = (handler_at, length(handler), args_at, length(args));
        let at = run.call_async(&mut *store, returned).await?;
        let result = guest.result(store.as_context_mut(), at)?;
        if let Some(post_run) = post_run.and_then(wasmtime::Extern::into_func) {
            let post_run: TypedFunc<u32, ()> = post_run.typed(&mut *store)?;
            store.data_mut().must_not_call = true;
            post_run.call_async(&mut *store, at).await?;
        }
        Ok(result)
    }
}

/// No text that gets here is longer than arguments may be.
fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
