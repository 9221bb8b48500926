//! One attempt, from a claimed task to an outcome on its way to the store.
//!
//! A slot is one loop: take a task, run it, pass its outcome to the completer. A handler
//! can slow a slot down but never stop the loop: a panic in host code becomes an internal
//! failure of that one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::commit::{self, AttemptResult};
use super::defer;
use crate::claim::backlog::Backlog;
use crate::outcome::completer;
use crate::state::claimed_task::ClaimedTask;
use crate::state::core::Core;
use crate::state::held_claims::StartDecision;
use crate::state::queued_outcome::QueuedOutcome;
use crate::state::suspects::{self, Admission};
use crate::state::watchdog::PollWatch;
use pgtq_store::OutcomeRecord;
use pgtq_task::{
    Attempt, Database, ErrorKind, Failure, Handler, Outcome, Report, RetryPolicy, Signal,
    StopReason, decide,
};

/// Runs tasks until the backlog is closed.
pub(crate) async fn slot(core: Arc<Core>, backlog: Arc<Backlog>) {
    let watch = core.watchdog.slot();
    while let Some(claimed) = backlog.next().await {
        core.stats.running.fetch_add(1, Relaxed);
        if backlog.is_paused(&claimed.task) {
            // Paused after the claim.
            completer::hand_over(&core, QueuedOutcome::released(claimed)).await;
        } else if let Some(unknown) = defer::unknown_traits(&claimed) {
            defer::defer_unknown(&core, claimed, unknown).await;
        } else if claimed.task.crashes >= suspects::threshold(core.config.max_crashes) {
            run_suspects(&core, &watch, claimed).await;
        } else {
            run(&core, &watch, claimed, false).await;
        }
        backlog.done();
        core.stats.running.fetch_sub(1, Relaxed);
    }
}

/// Runs a suspect unless another one is running, and then those that arrived meanwhile.
async fn run_suspects(core: &Core, watch: &PollWatch, claimed: ClaimedTask) {
    let mut next = match core.suspects.admit(claimed) {
        Admission::Run(claimed) => Some(claimed),
        Admission::Wait => return,
        Admission::Full(claimed) => return defer::defer(core, claimed).await,
    };
    while let Some(claimed) = next {
        run(core, watch, claimed, true).await;
        next = core.suspects.next();
    }
}

async fn run(core: &Core, watch: &PollWatch, claimed: ClaimedTask, is_suspect: bool) {
    let task = &claimed.task;
    let handler = core
        .registry
        .snapshot()
        .handlers
        .get(&task.handler)
        .cloned();
    let Some(handler) = handler else {
        // The plugin was retired after the claim: the task waits for it again.
        hand_over(
            core,
            claimed,
            Report::without_guest(Outcome::Release),
            RetryPolicy::default(),
            Instant::now(),
            false,
        )
        .await;
        return;
    };
    let policy = handler.info().retry;
    if is_suspect {
        run_isolated(core, watch, claimed, handler.as_ref(), policy).await;
    } else {
        attempt(core, watch, claimed, handler.as_ref(), policy).await;
    }
}

/// Runs a task that was running when runners crashed, under a separate claim.
async fn run_isolated(
    core: &Core,
    watch: &PollWatch,
    claimed: ClaimedTask,
    handler: &dyn Handler,
    policy: RetryPolicy,
) {
    tracing::warn!(
        task = claimed.task.id.0,
        crashes = claimed.task.crashes,
        "running a task under a separate claim: runners crashed while it ran"
    );
    let isolated = loop {
        let isolate = core
            .store
            .isolate(core.runner(), claimed.claim, claimed.task.id);
        match isolate.await {
            // It may have been moved: releasing it now could run it twice.
            Err(error) if error.is_transient() => {
                if !core.claims.has_claim(claimed.claim) {
                    return;
                }
                tracing::warn!(task = claimed.task.id.0, %error, "could not isolate a suspect task; retrying");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            known => break known,
        }
    };
    match isolated {
        Ok(Some(claim)) => {
            core.claims.isolate(claimed.claim, claimed.task.id, claim);
            attempt(
                core,
                watch,
                ClaimedTask { claim, ..claimed },
                handler,
                policy,
            )
            .await;
        }
        // The claim is lost, or a call whose answer was lost moved the task: rescue or the
        // next beat releases it.
        Ok(None) => core.claims.remove([(claimed.claim, claimed.task.id)]),
        Err(error) => {
            tracing::warn!(task = claimed.task.id.0, %error, "could not isolate a suspect task; releasing it");
            let report = Report::without_guest(Outcome::Release);
            hand_over(core, claimed, report, policy, Instant::now(), false).await;
        }
    }
}

async fn attempt(
    core: &Core,
    watch: &PollWatch,
    claimed: ClaimedTask,
    handler: &dyn Handler,
    policy: RetryPolicy,
) {
    // A process that was stopped for long may have lost its lease.
    core.lease.decided().await;
    let started = Instant::now();
    let signal = match core.claims.start(claimed.claim, claimed.task.id) {
        StartDecision::Run(signal) => signal,
        StartDecision::Lost => return,
        StartDecision::Cancelled => {
            let outcome = Outcome::Cancel {
                reason: "cancelled before it started".to_owned(),
            };
            hand_over(
                core,
                claimed,
                Report::without_guest(outcome),
                policy,
                started,
                true,
            )
            .await;
            return;
        }
    };
    let database = core
        .store
        .attempt(core.runner(), claimed.claim, claimed.task.id);
    let handler_database = Arc::clone(&database) as Arc<dyn Database>;
    let calling = call(&claimed, handler, Arc::clone(&signal), handler_database);
    let report = tokio::select! {
        report = watch.run(&claimed.task, calling) => report,
        () = database.keep_alive(|| core.lease.is_sure()) => unreachable!("it runs for as long as the attempt"),
    };
    let result = if signal.asked() == Some(StopReason::Lost) {
        database.roll_back().await;
        None
    } else {
        commit::end_transaction(core, &claimed, &database, report, started).await
    };
    let Some(result) = result else {
        core.stats.stale.fetch_add(1, Relaxed);
        return;
    };
    let cancelled = signal.is_cancelled();
    hand_over(core, claimed, result, policy, started, cancelled).await;
}

async fn call(
    claimed: &ClaimedTask,
    handler: &dyn Handler,
    signal: Arc<Signal>,
    database: Arc<dyn Database>,
) -> Report {
    let attempt = Attempt {
        task: Arc::clone(&claimed.task),
        claim: claimed.claim,
        signal,
        database,
    };
    // The outer guard: the sandbox has its own, a native handler has none.
    let guarded = AssertUnwindSafe(async { handler.call(attempt).await }).catch_unwind();
    guarded.await.unwrap_or_else(|panic| {
        let what = panic_text(panic.as_ref());
        tracing::error!(task = claimed.task.id.0, handler = %claimed.task.handler, what, "the runner panicked inside an attempt");
        let failure = Failure::new(ErrorKind::Internal, format!("the runner panicked: {what}"));
        Report::without_guest(Outcome::Retry { failure, after: None })
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

async fn hand_over(
    core: &Core,
    claimed: ClaimedTask,
    result: impl Into<AttemptResult>,
    policy: RetryPolicy,
    started: Instant,
    cancelled: bool,
) {
    let AttemptResult {
        report,
        recorded,
        has_state,
    } = result.into();
    core.stats.fuel.fetch_add(report.record.usage.fuel, Relaxed);
    let transition = decide(
        &claimed.task,
        &policy,
        report.outcome,
        cancelled,
        fastrand::f64(),
    );
    let ending = OutcomeRecord {
        claim: claimed.claim,
        task: claimed.task,
        transition,
        record: report.record,
        recorded,
        has_state,
        started,
        ended: Instant::now(),
    };
    completer::hand_over(core, QueuedOutcome::new(ending, claimed.held)).await;
}
