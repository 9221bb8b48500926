//! Runs the call of a guest until it ends, is stopped, or has used its time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use wasmtime::Store;

use crate::attempt::host_call::timed;
use crate::attempt::state::StoreData;
use crate::bindings::WireFailure;
use crate::run::failure;
use pgtq_task::{Attempt, CANCEL_GRACE, Failure, Signal, StopReason};

/// The observable result of the guest's run.
pub(super) enum CallEnd {
    Returned(Result<String, WireFailure>),
    Trapped(wasmtime::Error),
    TimedOut,
    Stopped(StopReason),
    Panicked(Failure),
}

/// The call, cut short by a stop or the clock.
pub(super) async fn supervised(
    store: &mut Store<StoreData>,
    attempt: &Attempt,
    call: impl AsyncFnOnce(&mut Store<StoreData>) -> wasmtime::Result<Result<String, WireFailure>>,
) -> CallEnd {
    let state = store.data();
    let timeout = state.limits.timeout.saturating_sub(state.started.elapsed());
    let limits = Arc::clone(&state.limits);
    let call = timed(&limits, call(store));
    let call = catch_panic(tokio::time::timeout(timeout, call));
    tokio::select! {
        biased;
        stop = stop(&attempt.signal, CANCEL_GRACE) => CallEnd::Stopped(stop),
        ended = call => match ended {
            Ok(Ok(Ok(returned))) => CallEnd::Returned(returned),
            Ok(Ok(Err(error))) => CallEnd::Trapped(error),
            Ok(Err(_elapsed)) => CallEnd::TimedOut,
            Err(failure) => CallEnd::Panicked(failure),
        },
    }
}

/// Waits until the attempt must be stopped. When it is cancelled, an attempt that has
/// asked whether it was cancelled has `grace` to finish by itself, unless a more urgent
/// stop arrives. Cancel-safe.
async fn stop(signal: &Signal, grace: Duration) -> StopReason {
    let why = signal.stopped().await;
    if why != StopReason::Cancel || !signal.polls_cancelled() {
        return why;
    }
    tokio::select! {
        why = signal.stopped_by(StopReason::Interrupt) => why,
        () = tokio::time::sleep(grace) => why,
    }
}

/// A panic of the host unwinds through the guest's stack to here and becomes a failure.
/// Its store may only be read and dropped afterwards.
pub(crate) async fn catch_panic<T>(call: impl Future<Output = T>) -> Result<T, Failure> {
    let call = AssertUnwindSafe(call).catch_unwind();
    call.await.map_err(|panic| failure::internal(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgtq_task::ErrorKind;

    #[tokio::test]
    async fn a_panic_of_the_host_only_fails_the_attempt() {
        let failure = catch_panic(async { panic!("at the disco") }).await;
        let failure = failure.expect_err("it panicked");
        assert_eq!(failure.kind, ErrorKind::Internal);
        assert!(failure.message.contains("at the disco"));
        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
    }

    #[tokio::test]
    async fn a_cooperative_handler_is_stopped_after_its_grace() {
        let signal = Signal::default();
        signal.poll_cancelled();
        signal.stop(StopReason::Cancel);
        let grace = Duration::from_millis(20);
        let started = std::time::Instant::now();
        assert_eq!(stop(&signal, grace).await, StopReason::Cancel);
        assert!(started.elapsed() >= grace);
    }

    #[tokio::test]
    async fn other_handlers_and_urgent_stops_get_no_grace() {
        const LONG: Duration = Duration::from_secs(3600);
        let deaf = Signal::default();
        deaf.stop(StopReason::Cancel);
        assert_eq!(stop(&deaf, LONG).now_or_never(), Some(StopReason::Cancel));
        for urgent in [StopReason::Interrupt, StopReason::Lost] {
            let signal = Signal::default();
            signal.poll_cancelled();
            signal.stop(StopReason::Cancel);
            let mut waiting = std::pin::pin!(stop(&signal, LONG));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            signal.stop(urgent);
            assert_eq!(waiting.now_or_never(), Some(urgent));
        }
    }
}
