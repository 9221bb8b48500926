//! What an attempt leaves behind: its outcome, usage, log and child tasks.

use wasmtime::Store;

use crate::attempt::state::StoreData;
use crate::attempt::store;
use crate::capability::push::children::take_children;
use crate::run::failure::{self, TrapContext};
use crate::run::limit_text;
use crate::run::outcome::{completed, failed, retry, stopped};
use crate::run::supervise::CallEnd;
use pgtq_task::{AttemptRecord, Digest, Limits, Report, Usage};

/// The report of an attempt whose call has ended this way.
pub(super) async fn report(
    store: Store<StoreData>,
    ended: CallEnd,
    limits: &Limits,
    digest: Digest,
) -> Report {
    let fuel = limits.fuel - store.get_fuel().unwrap_or(0).min(limits.fuel);
    let mut state = store::dismantle(store).await;
    let wall = state.started.elapsed();
    let children = take_children(&mut state);
    state.close();
    let mut logs = state.logs.lock();
    let mut outcome = match ended {
        CallEnd::Returned(Ok(result)) => completed(result, limits),
        CallEnd::Returned(Err(failure)) => failed(&failure, limits),
        CallEnd::TimedOut => retry(limit_text::timeout(limits)),
        CallEnd::Panicked(failure) => retry(failure),
        CallEnd::Stopped(stop) => stopped(stop),
        CallEnd::Trapped(error) => failure::outcome(
            &error,
            &TrapContext {
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
            children,
            digest: Some(digest),
        },
    }
}
