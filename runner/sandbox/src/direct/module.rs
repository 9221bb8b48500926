//! The main module of a plugin: linked once, instantiated for each attempt.

use std::sync::Arc;

use futures_util::FutureExt;
use wasmtime::component;
use wasmtime::{
    AsContextMut, Engine, Instance, InstancePre, Linker, ModuleExport, Store, TypedFunc,
};

use crate::attempt::state::StoreData;
use crate::attempt::store;
use crate::bindings::WireFailure;
use crate::direct::expose::EXPORT;
use crate::direct::fallback::Fallback;
use crate::direct::imports;
use crate::direct::memory::{Four, Guest, length};
use pgtq_task::Limits;

/// Fuel for reaching the module: tables are filled, no guest code runs.
const LINK_FUEL: u64 = 100_000;

/// A plugin's main module, ready to be instantiated.
pub(crate) struct Direct {
    pre: InstancePre<StoreData>,
    memory: ModuleExport,
    realloc: ModuleExport,
    run: ModuleExport,
    post_run: Option<ModuleExport>,
}

impl Direct {
    /// The main module of `component`, if [`expose`](crate::direct::expose) exported it
    /// and it fits.
    pub(crate) fn link(component: &component::InstancePre<StoreData>) -> Option<Direct> {
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
        component: &component::InstancePre<StoreData>,
    ) -> wasmtime::Result<Option<Direct>> {
        let limits = Arc::new(Limits {
            fuel: LINK_FUEL,
            ..Limits::default()
        });
        let mut store = store::store(engine, StoreData::new(None, limits))?;
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
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<StoreData>,
    ) -> wasmtime::Result<Instance> {
        self.pre.instantiate_async(store).await
    }

    /// Calls a handler. The same as the component's `run`, or a [`Fallback`].
    pub(crate) async fn call_run(
        &self,
        store: &mut Store<StoreData>,
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
            return Err(Fallback("an export of another kind").into());
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
