//! The wasmtime store of one instance: made with every limit set, and taken apart.

use std::sync::Arc;

use wasmtime::{Engine, Store};

use crate::attempt::host_call::{HostCalls, is_large};
use crate::attempt::state::StoreData;
use crate::engine::{LARGE_YIELD_FUEL, YIELD_FUEL};

/// WASI and resource handles that a guest may hold.
const MAX_HANDLES: usize = 1_000;
/// An attempt with at least this much memory frees it on another thread.
const LARGE_MEMORY: u64 = 32 << 20;
/// Makes the store of one component instance, with every limit set and every host call
/// charged.
pub(crate) fn component_store(
    engine: &Engine,
    state: StoreData,
) -> wasmtime::Result<Store<StoreData>> {
    let mut store = store(engine, state)?;
    store.call_hook_async(HostCalls);
    Ok(store)
}

/// Makes a store with every limit set, for guests that call only our own functions: these
/// charge for themselves.
pub(crate) fn store(engine: &Engine, state: StoreData) -> wasmtime::Result<Store<StoreData>> {
    let limits = Arc::clone(&state.limits);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_fuel(limits.fuel)?;
    let interval = match is_large(&limits) {
        true => LARGE_YIELD_FUEL,
        false => YIELD_FUEL,
    };
    store.fuel_async_yield_interval(Some(interval))?;
    store.set_hostcall_fuel(usize::try_from(limits.call_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(MAX_HANDLES);
    Ok(store)
}

/// Ends the instance and keeps the store's figures. Freeing a large memory takes tens of
/// milliseconds, so another thread does it.
pub(crate) async fn dismantle(store: Store<StoreData>) -> StoreData {
    if store.data().account.peak() < LARGE_MEMORY {
        return store.into_data();
    }
    let dismantling = tokio::task::spawn_blocking(move || store.into_data());
    // Cannot fail: it does not panic and is never cancelled.
    dismantling.await.expect("a store without its instance")
}
