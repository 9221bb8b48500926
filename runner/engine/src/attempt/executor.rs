//! One attempt, from a claimed task to an ending on its way to the store.
//!
//! A slot is one loop here: take a task, run it, hand its ending over. What a
//! handler does can slow a slot down, never stop the loop: a panic in host
//! code becomes an internal failure of that one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::attempt::commit::{self, Settled};
use crate::claim::backlog::{Backlog, Taken};
use crate::outcome::completer::{self, QueuedEnding};
use crate::state::core::Core;
use crate::state::held_claims::Start;
use crate::state::suspects::{self, Offer};
use crate::state::unknown_traits;
use crate::state::watchdog::Turn;
use pgtq_store::Ending;
use pgtq_task::{
    Attempt, Database, ErrorKind, Failure, Handler, Outcome, Report, RetryPolicy, Signal,
    StopReason, Transition, decide,
};

/// Runs tasks until the backlog is closed.
pub(crate) async fn slot(core: Arc<Core>, backlog: Arc<Backlog>) {
    let turn = core.watchdog.slot();
    while let Some(taken) = backlog.next().await {
        core.stats.running.fetch_add(1, Relaxed);
        if backlog.is_paused(&taken.task) {
            // Paused since the claim: it waits with the others of its kind.
            completer::hand_over(&core, released(taken)).await;
        } else if let Some(unknown) = unknown_traits::of(&taken) {
            unknown_traits::put_back(&core, taken, unknown).await;
        } else if taken.task.crashes >= suspects::threshold(core.config.max_crashes) {
            run_suspects(&core, &turn, taken).await;
        } else {
            run(&core, &turn, taken, false).await;
        }
        backlog.done();
        core.stats.running.fetch_sub(1, Relaxed);
    }
}

/// The ending of a task that no slot has started: it goes back without using an
/// attempt, or is cancelled if somebody asked for that.
pub(crate) fn released(taken: Taken) -> QueuedEnding {
    QueuedEnding::not_started(taken, Transition::Release)
}

/// Runs a suspect, unless another one runs here, and then those that came meanwhile.
async fn run_suspects(core: &Core, turn: &Turn, taken: Taken) {
    let mut next = match core.suspects.offer(taken) {
        Offer::Run(taken) => Some(taken),
        Offer::Waits => return,
        Offer::Full(taken) => return suspects::send_back(core, taken).await,
    };
    while let Some(taken) = next {
        run(core, turn, taken, true).await;
        next = core.suspects.next();
    }
}

async fn run(core: &Core, turn: &Turn, taken: Taken, is_suspect: bool) {
    let task = &taken.task;
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
            taken,
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
        run_isolated(core, turn, taken, handler.as_ref(), policy).await;
    } else {
        attempt(core, turn, taken, handler.as_ref(), policy).await;
    }
}

/// A task that runners died under: its claim holds nothing else.
async fn run_isolated(
    core: &Core,
    turn: &Turn,
    taken: Taken,
    handler: &dyn Handler,
    policy: RetryPolicy,
) {
    tracing::warn!(
        task = taken.task.id.0,
        crashes = taken.task.crashes,
        "runs under a claim of its own: runners died under it"
    );
    let isolated = loop {
        let isolate = core
            .store
            .isolate(core.runner(), taken.claim, taken.task.id);
        match isolate.await {
            // It may have been moved: to give it back now could make two of it.
            Err(error) if error.is_transient() => {
                if !core.ledger.knows(taken.claim) {
                    return;
                }
                tracing::warn!(task = taken.task.id.0, %error, "could not isolate a suspect task; trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            known => break known,
        }
    };
    match isolated {
        Ok(Some(claim)) => {
            core.ledger.isolate(taken.claim, taken.task.id, claim);
            attempt(core, turn, Taken { claim, ..taken }, handler, policy).await;
        }
        // Not ours any more, or moved by a call whose answer was lost: rescue,
        // or the next beat, brings it back.
        Ok(None) => core.ledger.ended([(taken.claim, taken.task.id)]),
        Err(error) => {
            tracing::warn!(task = taken.task.id.0, %error, "could not isolate a suspect task; giving it back");
            let report = Report::without_guest(Outcome::Release);
            hand_over(core, taken, report, policy, Instant::now(), false).await;
        }
    }
}

async fn attempt(
    core: &Core,
    turn: &Turn,
    taken: Taken,
    handler: &dyn Handler,
    policy: RetryPolicy,
) {
    // A process that was stopped for long may no longer be who it thinks it is.
    core.lease.decided().await;
    let started = Instant::now();
    let signal = match core.ledger.start(taken.claim, taken.task.id) {
        Start::Go(signal) => signal,
        Start::Lost => return,
        Start::Cancelled => {
            let outcome = Outcome::Cancel {
                reason: "cancelled before it started".to_owned(),
            };
            hand_over(
                core,
                taken,
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
        .attempt(core.runner(), taken.claim, taken.task.id);
    let way = Arc::clone(&database) as Arc<dyn Database>;
    let calling = call(&taken, handler, Arc::clone(&signal), way);
    let report = tokio::select! {
        report = turn.run(&taken.task, calling) => report,
        () = database.keep_alive(|| core.lease.is_sure()) => unreachable!("it runs for as long as the attempt"),
    };
    let settled = if signal.asked() == Some(StopReason::Lost) {
        database.roll_back().await;
        None
    } else {
        commit::settle(core, &taken, &database, report, started).await
    };
    let Some(settled) = settled else {
        core.stats.stale.fetch_add(1, Relaxed);
        return;
    };
    let cancelled = signal.is_cancelled();
    hand_over(core, taken, settled, policy, started, cancelled).await;
}

async fn call(
    taken: &Taken,
    handler: &dyn Handler,
    signal: Arc<Signal>,
    database: Arc<dyn Database>,
) -> Report {
    let attempt = Attempt {
        task: Arc::clone(&taken.task),
        claim: taken.claim,
        signal,
        database,
    };
    // The outer guard: the sandbox has its own, a native handler has none.
    let guarded = AssertUnwindSafe(async { handler.call(attempt).await }).catch_unwind();
    guarded.await.unwrap_or_else(|panic| {
        let what = panic_text(panic.as_ref());
        tracing::error!(task = taken.task.id.0, handler = %taken.task.handler, what, "the runner panicked inside an attempt");
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
    taken: Taken,
    settled: impl Into<Settled>,
    policy: RetryPolicy,
    started: Instant,
    cancelled: bool,
) {
    let Settled {
        report,
        recorded,
        has_state,
    } = settled.into();
    core.stats.fuel.fetch_add(report.record.usage.fuel, Relaxed);
    let transition = decide(
        &taken.task,
        &policy,
        report.outcome,
        cancelled,
        fastrand::f64(),
    );
    let ending = Ending {
        claim: taken.claim,
        task: taken.task,
        transition,
        record: report.record,
        recorded,
        has_state,
        started,
        ended: Instant::now(),
    };
    completer::hand_over(core, QueuedEnding::new(ending, taken.held)).await;
}
