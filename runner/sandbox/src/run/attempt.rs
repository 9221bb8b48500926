//! One attempt: a new store and instance, one call, a report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use wasmtime::{Engine, Store};

use crate::attempt::access::Access;
use crate::attempt::host_call::{HostCalls, is_large, timed};
use crate::attempt::logs::{clean, clean_text};
use crate::attempt::state::{SharedLogs, State};
use crate::bindings::{Verdict, WireFailure};
use crate::capability::push::Pusher;
use crate::direct::{Detour, Detours, Direct};
use crate::engine::{LARGE_YIELD_FUEL, YIELD_FUEL};
use crate::json;
use crate::run::copies::Linked;
use crate::run::failure::{self, Scene};
use pgtq_task::{
    Attempt, AttemptRecord, CANCEL_GRACE, Digest, ErrorKind, Failure, HandlerInfo, Limits, Outcome,
    Report, Retries, Signal, StopReason, Usage,
};

/// WASI and resource handles that a guest may hold.
const MAX_HANDLES: usize = 1_000;
/// An attempt with at least this much memory frees it on another thread.
const LARGE_MEMORY: u64 = 32 << 20;
/// Bytes of a failure's code that are kept.
const CODE_BYTES: usize = 128;
/// The maximum of a guest's delays: a year, in milliseconds.
const MAX_DELAY_MS: u64 = 365 * 24 * 3_600_000;

/// The observable result of the guest's run.
enum Ended {
    Returned(Result<String, WireFailure>),
    Trapped(wasmtime::Error),
    TimedOut,
    Stopped(StopReason),
    Panicked(Failure),
}

/// Makes the store of one component instance, with every limit set and every host call
/// charged.
pub(crate) fn component_store(engine: &Engine, state: State) -> wasmtime::Result<Store<State>> {
    let mut store = store(engine, state)?;
    store.call_hook_async(HostCalls);
    Ok(store)
}

/// Makes a store with every limit set, for guests that call only our own functions: these
/// charge for themselves.
pub(crate) fn store(engine: &Engine, state: State) -> wasmtime::Result<Store<State>> {
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

/// Runs one attempt to its end, whatever the guest does.
pub(crate) async fn run(
    plugin: &Linked,
    detours: &Detours,
    digest: Digest,
    info: &HandlerInfo,
    limits: Arc<Limits>,
    rights: Rights,
    attempt: Attempt,
) -> Report {
    let mut earlier = None;
    let Rights { access, pusher } = rights;
    // Capabilities are linked in the component only.
    if let Some(direct) = &plugin.direct
        && access.is_none()
        && detours.may_go_direct()
    {
        let way = Way::Direct(direct);
        let pushes_only = Rights {
            access: None,
            pusher: pusher.clone(),
        };
        match once(
            plugin,
            way,
            digest,
            info,
            &limits,
            pushes_only,
            &attempt,
            None,
        )
        .await
        {
            Ok(report) => return report,
            Err((detour, start)) => {
                earlier = Some(start);
                tracing::debug!(handler = %info.name, %detour, "an attempt is restarted");
                detours.note();
            }
        }
    }
    let whole = Way::Whole;
    let rights = Rights { access, pusher };
    let is_second = earlier.is_some();
    let ended = once(
        plugin, whole, digest, info, &limits, rights, &attempt, earlier,
    )
    .await;
    match ended {
        // The first start used up the missing fuel or time; the next attempt goes straight
        // to the component, so this one is not counted.
        Ok(mut report) if is_second && ran_out(&report.outcome) => {
            report.outcome = Outcome::Release;
            report.record.children.clear();
            report
        }
        Ok(report) => report,
        Err((detour, _)) => {
            let failure = Failure::new(ErrorKind::Internal, detour.to_string());
            Report::without_guest(retry(failure))
        }
    }
}

/// Whether an attempt ended because its fuel or its time was used up.
fn ran_out(outcome: &Outcome) -> bool {
    let Outcome::Retry { failure, .. } = outcome else {
        return false;
    };
    matches!(failure.kind, ErrorKind::Fuel | ErrorKind::Timeout)
}

/// The remaining budget of an attempt that started in the main module and took a detour.
/// Both starts share one budget of fuel and time.
struct Start {
    logs: SharedLogs,
    started: Instant,
    fuel_left: u64,
}

/// What an attempt may do besides computing.
pub(crate) struct Rights {
    pub(crate) access: Option<Box<Access>>,
    pub(crate) pusher: Pusher,
}

/// The entry point of an attempt into the plugin.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Through the component: the full contract.
    Whole,
    /// Directly into the main module.
    Direct(&'a Direct),
}

/// One attempt in its own store. An error means that it must be started again, through
/// the component, with what is left of this start's budget; it has had no effect.
#[expect(clippy::too_many_arguments, reason = "they belong to one attempt")]
async fn once(
    plugin: &Linked,
    way: Way<'_>,
    digest: Digest,
    info: &HandlerInfo,
    limits: &Arc<Limits>,
    rights: Rights,
    attempt: &Attempt,
    earlier: Option<Start>,
) -> Result<Report, (Detour, Start)> {
    let mut state = State::new(Some(attempt.clone()), Arc::clone(limits));
    let fuel = earlier.as_ref().map(|start| start.fuel_left);
    match earlier {
        Some(start) => state.start_again(start.logs, start.started),
        None => attempt
            .signal
            .share_log(SharedLogs::clone(&state.logs) as _),
    }
    state.pusher = Some(rights.pusher);
    state.allow(rights.access);
    let retries = attempt.task.retries.unwrap_or(info.retry.retries);
    state.max_attempts = match retries {
        Retries::Limited(n) => Some(n.saturating_add(1)),
        Retries::Forever => None,
    };
    let component = &plugin.component;
    let store = match way {
        Way::Whole => component_store(component.engine(), state),
        Way::Direct(_) => store(component.engine(), state),
    };
    let mut store = match store {
        Ok(store) => store,
        Err(error) => {
            let failure = Failure::new(ErrorKind::Internal, format!("set up a store: {error:#}"));
            return Ok(Report::without_guest(retry(failure)));
        }
    };
    if let Some(left) = fuel
        && let Err(error) = store.set_fuel(left)
    {
        let failure = Failure::new(ErrorKind::Internal, format!("set the fuel: {error:#}"));
        return Ok(Report::without_guest(retry(failure)));
    }
    let ended = match way {
        Way::Whole => {
            let call = async |store: &mut Store<State>| {
                let instance = component.instantiate_async(&mut *store).await?;
                let args = &attempt.task.args;
                instance.call_run(store, info.name.as_str(), args).await
            };
            watched(&mut store, attempt, call).await
        }
        Way::Direct(direct) => {
            let call = async |store: &mut Store<State>| {
                let instance = direct.instantiate(store).await?;
                let args = &attempt.task.args;
                let handler = info.name.as_str();
                direct.call_run(store, &instance, handler, args).await
            };
            watched(&mut store, attempt, call).await
        }
    };
    if let Ended::Trapped(error) = &ended
        && let Some(detour) = error.downcast_ref::<Detour>()
    {
        let start = Start {
            logs: SharedLogs::clone(&store.data().logs),
            started: store.data().started,
            fuel_left: store.get_fuel().unwrap_or(0),
        };
        dismantle(store).await;
        return Err((*detour, start));
    }
    Ok(report(store, ended, limits, digest).await)
}

/// The call, cut short by a stop or the clock.
async fn watched(
    store: &mut Store<State>,
    attempt: &Attempt,
    call: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<Result<String, WireFailure>>,
) -> Ended {
    let state = store.data();
    let timeout = state.limits.timeout.saturating_sub(state.started.elapsed());
    let limits = Arc::clone(&state.limits);
    let call = timed(&limits, call(store));
    let call = caught(tokio::time::timeout(timeout, call));
    tokio::select! {
        biased;
        stop = stop(&attempt.signal, CANCEL_GRACE) => Ended::Stopped(stop),
        ended = call => match ended {
            Ok(Ok(Ok(returned))) => Ended::Returned(returned),
            Ok(Ok(Err(error))) => Ended::Trapped(error),
            Ok(Err(_elapsed)) => Ended::TimedOut,
            Err(failure) => Ended::Panicked(failure),
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
pub(crate) async fn caught<T>(call: impl Future<Output = T>) -> Result<T, Failure> {
    let call = AssertUnwindSafe(call).catch_unwind();
    call.await.map_err(|panic| failure::internal(&*panic))
}

/// The outcome of an attempt that was stopped from outside.
pub(crate) fn stopped(stop: StopReason) -> Outcome {
    match stop {
        StopReason::Cancel => Outcome::Cancel {
            reason: "cancelled while it ran".to_owned(),
        },
        StopReason::Interrupt | StopReason::Lost => Outcome::Release,
    }
}

/// Ends the instance and keeps the store's figures. Freeing a large memory takes tens of
/// milliseconds, so another thread does it.
pub(crate) async fn dismantle(store: Store<State>) -> State {
    if store.data().account.peak() < LARGE_MEMORY {
        return store.into_data();
    }
    let dismantling = tokio::task::spawn_blocking(move || store.into_data());
    // Cannot fail: it does not panic and is never cancelled.
    dismantling.await.expect("a store without its instance")
}

async fn report(store: Store<State>, ended: Ended, limits: &Limits, digest: Digest) -> Report {
    let fuel = limits.fuel - store.get_fuel().unwrap_or(0).min(limits.fuel);
    let mut state = dismantle(store).await;
    let wall = state.started.elapsed();
    state.close();
    let mut logs = state.logs.lock();
    let mut outcome = match ended {
        Ended::Returned(Ok(result)) => completed(result, limits),
        Ended::Returned(Err(failure)) => failed(&failure, limits),
        Ended::TimedOut => retry(failure::timeout(limits)),
        Ended::Panicked(failure) => retry(failure),
        Ended::Stopped(stop) => stopped(stop),
        Ended::Trapped(error) => failure::outcome(
            &error,
            &Scene {
                limits,
                limiter: &state.limiter,
                account: &state.account,
                logs: &logs,
            },
        ),
    };
    if let Some(redactor) = logs.redactor() {
        redactor.hide_in(&mut outcome);
    }
    let (lines, logs_dropped) = logs.take();
    Report {
        outcome,
        record: AttemptRecord {
            usage: Usage {
                fuel,
                peak_memory: state.account.peak(),
                wall,
            },
            logs: lines,
            logs_dropped,
            children: std::mem::take(&mut state.children),
            digest: Some(digest),
        },
    }
}

fn retry(failure: Failure) -> Outcome {
    Outcome::Retry {
        failure,
        after: None,
    }
}

fn completed(result: String, limits: &Limits) -> Outcome {
    if result.len() as u64 > limits.result_bytes {
        let (kind, message) = failure::result_size(Some(result.len()), limits);
        return retry(Failure::new(kind, message));
    }
    match json::check(&result) {
        Ok(()) => Outcome::Complete { result },
        Err(error) => retry(Failure::new(
            ErrorKind::ResultJson,
            format!("returned something that is not JSON: {error}"),
        )),
    }
}

/// The outcome for a returned failure.
fn failed(wire: &WireFailure, limits: &Limits) -> Outcome {
    let bytes = wire.message.len() + wire.details.as_ref().map_or(0, String::len);
    let delay = wire
        .delay_ms
        .map(|ms| Duration::from_millis(ms.min(MAX_DELAY_MS)));
    let failure = if bytes as u64 > limits.result_bytes {
        let (kind, message) = failure::result_size(Some(bytes), limits);
        Failure::new(kind, message)
    } else {
        failure_of(wire)
    };
    match wire.verdict {
        Verdict::Retry => Outcome::Retry {
            failure,
            after: delay,
        },
        Verdict::Fail => Outcome::Fail { failure },
        Verdict::Cancel => Outcome::Cancel {
            reason: failure.message,
        },
        Verdict::Snooze => match delay {
            Some(after) => Outcome::Snooze { after },
            None => retry(Failure::new(
                ErrorKind::Contract,
                "requested a snooze without a delay",
            )),
        },
    }
}

fn failure_of(wire: &WireFailure) -> Failure {
    let kind = match wire.code.as_str() {
        "panic" => ErrorKind::Panic,
        "arguments" => ErrorKind::Arguments,
        _ => ErrorKind::Error,
    };
    let details = wire.details.as_ref();
    Failure {
        kind,
        code: clean(&wire.code, CODE_BYTES),
        message: clean_text(&wire.message, usize::MAX),
        // Details that are not JSON are dropped; the failure is kept.
        details: details.filter(|text| json::check(text).is_ok()).cloned(),
        backtrace: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_host_only_fails_the_attempt() {
        let failure = caught(async { panic!("at the disco") }).await;
        let failure = failure.expect_err("it panicked");
        assert_eq!(failure.kind, ErrorKind::Internal);
        assert!(failure.message.contains("at the disco"));
        assert_eq!(caught(async { 1 }).await, Ok(1));
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
