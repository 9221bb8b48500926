//! The cost of a host call for the guest: fuel by call, by byte and by time.
//!
//! Our own functions charge for the bytes that they take ([`charge`]). In addition,
//! [`HostCalls`] observes every transition from the guest into the host and back,
//! wasmtime's own functions included: a call costs at least [`LEAST_FUEL`], one fuel per
//! nanosecond when it takes long, and yields to the scheduler when the guest has used
//! [`SLICE`] of its thread. Instruction counts alone cannot do that: a call of 15
//! instructions may take milliseconds of the host's time.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use wasmtime::{CallHook, CallHookHandler, StoreContextMut, Trap};
use wasmtime_wasi::async_trait;

use crate::attempt::state::{HostCall, StoreData};
use crate::engine::YIELD_FUEL;
use pgtq_task::Limits;

/// Fuel for entering the host; measured, a call costs 100 to 200 ns, which is 100 to 500
/// instructions.
pub(crate) const CALL_FUEL: u64 = 1_000;
/// The same for calls that charge nothing themselves. These include wasmtime's own calls,
/// which are invisible to a guest: growing memory, and every yield.
const LEAST_FUEL: u64 = 200;
/// Calls up to this duration cost no fuel for time, so that most attempts use the same
/// fuel each time; longer ones cost one fuel per nanosecond.
const SHORT: Duration = Duration::from_micros(100);
/// Maximum memory of a guest that shares its thread: the default of a handler that
/// requests none.
const LARGE_MEMORY: u64 = 64 << 20;
/// How long a guest may keep its thread before a host call yields.
const SLICE: Duration = Duration::from_millis(1);

/// Maximum nesting of host calls: one that allocates in the guest, whose allocator grows
/// memory.
const MAX_DEPTH: usize = 8;

thread_local! {
    /// When this thread began the current poll of its attempt.
    static POLLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether a guest with these limits runs outside of the scheduler's threads. One
/// instruction may fill or copy all of its memory, which takes about 0.7 ms per MiB of
/// new memory and cannot be interrupted.
pub(crate) fn is_large(limits: &Limits) -> bool {
    limits.memory > LARGE_MEMORY
}

/// Runs the future of a guest and records for [`HostCalls`] when its thread began. A
/// large guest keeps its thread to itself: other threads take over that thread's tasks.
/// Cancel-safe if the future is.
pub(crate) async fn timed<T>(limits: &Limits, guest: impl Future<Output = T>) -> T {
    let several = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    let apart = several && is_large(limits);
    let mut guest = pin!(guest);
    std::future::poll_fn(|context| {
        let mut poll = || {
            POLLED.set(Some(Instant::now()));
            let poll = guest.as_mut().poll(context);
            POLLED.set(None);
            poll
        };
        match apart {
            true => tokio::task::block_in_place(poll),
            false => poll(),
        }
    })
    .await
}

/// The store of a guest that called the host.
pub(crate) type Caller<'a> = StoreContextMut<'a, StoreData>;

/// Takes the fuel for one host call that carries `bytes`, or ends the attempt.
///
/// Setting the fuel restarts wasmtime's interval until the next yield, so a loop of host
/// calls would never yield by itself: this function yields. Cancel-safe.
pub(crate) async fn charge(store: &mut Caller<'_>, bytes: usize) -> wasmtime::Result<()> {
    store.data().account.passed(bytes as u64);
    let left = take_fuel(store, CALL_FUEL + bytes as u64)?;
    let state = store.data_mut();
    if state.yielded_at.saturating_sub(left) >= YIELD_FUEL {
        state.yielded_at = left;
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn take_fuel(store: &mut Caller<'_>, fuel: u64) -> wasmtime::Result<u64> {
    let Some(left) = store.get_fuel()?.checked_sub(fuel) else {
        store.set_fuel(0)?;
        return Err(Trap::OutOfFuel.into());
    };
    store.set_fuel(left)?;
    Ok(left)
}

/// The fuel of a call that has kept its thread for this long.
fn fuel_of(busy: Duration) -> u64 {
    match busy <= SHORT {
        true => LEAST_FUEL,
        false => u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX),
    }
}

/// Called by wasmtime around every host call of a store.
pub(crate) struct HostCalls;

#[async_trait]
impl CallHookHandler<StoreData> for HostCalls {
    async fn handle_call_event(
        &self,
        mut store: Caller<'_>,
        event: CallHook,
    ) -> wasmtime::Result<()> {
        match event {
            CallHook::CallingHost => {
                let fuel = store.get_fuel()?;
                bound_call(&mut store);
                let at = Instant::now();
                let calls = &mut store.data_mut().host_calls;
                // Deeper only if an error ended some: no fuel is charged after that.
                calls.truncate(MAX_DEPTH);
                calls.push(HostCall { at, fuel });
            }
            // The guest's return value is copied next.
            CallHook::ReturningFromWasm => bound_call(&mut store),
            CallHook::ReturningFromHost => settle(&mut store).await?,
            CallHook::CallingWasm => {}
        }
        Ok(())
    }
}

/// Bounds what the next call copies out of the guest by the remaining host bytes.
fn bound_call(store: &mut Caller<'_>) {
    let state = store.data();
    let room = state.account.call_room(state.limits.call_bytes);
    store.set_hostcall_fuel(usize::try_from(room).unwrap_or(usize::MAX));
}

/// Charges for the call that ends, unless it was charged more already, and yields when
/// the slice is used up. Time that a call spends waiting is not its thread's time.
async fn settle(store: &mut Caller<'_>) -> wasmtime::Result<()> {
    let now = Instant::now();
    let Some(call) = store.data_mut().host_calls.pop() else {
        return Ok(());
    };
    let polled = POLLED.get().unwrap_or(call.at);
    let busy = now.saturating_duration_since(call.at.max(polled));
    let charged = call.fuel.saturating_sub(store.get_fuel()?);
    let owed = fuel_of(busy).saturating_sub(charged);
    if owed > 0 {
        take_fuel(store, owed)?;
    }
    if now.saturating_duration_since(polled) >= SLICE {
        let left = store.get_fuel()?;
        store.data_mut().yielded_at = left;
        tokio::task::yield_now().await;
    }
    Ok(())
}
