//! Start order, stop order, and the reasons.
//!
//! Start: register (claims need an owner), then the completer (an outcome needs someone
//! to store it), then slots, maintenance and heartbeat, and claimers last. Stop is the
//! reverse: claimers first, unstarted tasks are released, slots finish or are
//! interrupted, the completer stores their outcomes, the heartbeat keeps the lease until
//! then, and deregistration releases the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::attempt::defer;
use crate::attempt::executor;
use crate::background::streamer::{self, PublishedLogs};
use crate::background::{heartbeat, maintenance, published_handlers, push_facts, schema_check};
use crate::claim::backlog::Backlog;
use crate::claim::claim_size::ClaimSize;
use crate::claim::claimer::Claimer;
use crate::claim::waker;
use crate::config::{EngineConfig, QueueSpec};
use crate::control::control;
use crate::error::EngineError;
use crate::outcome::completer;
use crate::plugin::registry::Registry;
use crate::state::claimed_task::ClaimedTask;
use crate::state::core::Core;
use crate::state::lease::{BootTime, RunnerLease};
use crate::state::queued_outcome::{MAX_WAITING, QueuedOutcome};
use crate::state::shutdown::{Phase, Shutdown};
use crate::state::stats::{EngineStats, Summary};
use pgtq_store::{Lanes, QueueFilter, RunnerFacts, Store};

/// After an interrupt, how long attempts may take to stop.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);
/// How long the last flush may take before the rest is left to rescue.
const FLUSH_GRACE: Duration = Duration::from_secs(10);
/// How much of that is for outcomes that wait for a lock of another transaction.
const LOCK_GRACE: Duration = Duration::from_secs(1);

/// Runs tasks until `shutdown` is requested, or until the configuration's own stop
/// condition is met. Returns when every outcome is stored and every other task released;
/// dropping the future instead leaves that to rescue.
///
/// # Errors
///
/// If the database rejects the start, or a loop ends unexpectedly.
pub async fn run(
    store: Store,
    registry: Registry,
    config: EngineConfig,
    shutdown: Shutdown,
) -> Result<Summary, EngineError> {
    run_with_stats(store, registry, config, shutdown, Arc::default()).await
}

/// As [`run`], with counters that the caller may read meanwhile.
///
/// # Errors
///
/// As [`run`].
pub async fn run_with_stats(
    store: Store,
    registry: Registry,
    config: EngineConfig,
    shutdown: Shutdown,
    stats: Arc<EngineStats>,
) -> Result<Summary, EngineError> {
    let facts = facts(&config);
    let sent = BootTime::now();
    let runner = store.register(&facts).await?;
    let lease = RunnerLease::new(sent);
    let name = config.name.clone();
    let (outcomes, stored) = mpsc::channel(MAX_WAITING);
    let core = Arc::new(Core::new(
        store,
        registry,
        config,
        shutdown,
        stats,
        outcomes,
        (runner, lease),
    ));

    // Before this runner is announced: a push asks which runners have its handler.
    published_handlers::publish(&core).await;
    tracing::info!(runner = runner.0, name, "registered");

    let mut completer = tokio::spawn(completer::complete(Arc::clone(&core), stored));
    let logs = Arc::<PublishedLogs>::default();
    let mut background = background(&core, facts, &logs);
    let mut groups = QueueGroups::start(&core);

    let ended = tokio::select! {
        () = core.shutdown.reached(Phase::Draining) => Ok(()),
        () = nothing_more_to_do(&core) => Ok(()),
        failed = first_to_end(&mut background) => Err(failed),
        end = &mut completer => Err(loop_ended("completer", end)),
        failed = groups.first_to_panic() => Err(failed),
    };
    core.shutdown.drain();
    groups.stop(&core).await;
    flush(&core, &logs, &completer, &mut background).await;
    // Read last: the heartbeat may have registered again meanwhile.
    if let Err(error) = core.store.retire(core.runner()).await {
        tracing::warn!(%error, "could not deregister; other runners will notice when the lease expires");
    }
    ended.map(|()| core.stats.summary())
}

fn facts(config: &EngineConfig) -> RunnerFacts {
    let name = |spec: &QueueSpec| {
        spec.name
            .as_ref()
            .map_or_else(|| "*".to_owned(), ToString::to_string)
    };
    RunnerFacts {
        name: config.name.clone(),
        host: host_name(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: config.queues.iter().map(|spec| spec.slots).sum(),
        queues: config
            .queues
            .iter()
            .map(|spec| format!("{}={}", name(spec), spec.slots))
            .collect(),
    }
}

/// The name of this machine: the kernel's, or where that cannot be read `HOSTNAME`.
pub fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The claimers and slots of every queue group.
struct QueueGroups {
    claimers: JoinSet<()>,
    slots: JoinSet<()>,
    backlogs: Vec<Arc<Backlog>>,
}

impl QueueGroups {
    fn start(core: &Arc<Core>) -> Self {
        let mut groups = QueueGroups {
            claimers: JoinSet::new(),
            slots: JoinSet::new(),
            backlogs: Vec::new(),
        };
        let named: Vec<_> = core
            .config
            .queues
            .iter()
            .filter_map(|spec| spec.name.clone())
            .collect();
        for (group, spec) in core.config.queues.iter().enumerate() {
            let backlog = Arc::new(Backlog::new());
            for _ in 0..spec.slots {
                groups
                    .slots
                    .spawn(executor::slot(Arc::clone(core), Arc::clone(&backlog)));
            }
            let lanes = match &spec.name {
                Some(queue) => Lanes::new(QueueFilter::Only(vec![queue.clone()])),
                None => Lanes::new(QueueFilter::Except(named.clone())),
            };
            core.wake_requests.set_named(group, lanes.named());
            let claimer = Claimer {
                core: Arc::clone(core),
                group,
                slots: spec.slots,
                lanes,
                backlog: Arc::clone(&backlog),
                claim_took: Duration::ZERO,
                ticked: Instant::now(),
                claim_size: ClaimSize::new(),
            };
            groups.claimers.spawn(claimer.run());
            groups.backlogs.push(backlog);
        }
        groups
    }

    /// Waits for a claimer or slot that panicked; never returns if none does.
    /// Cancel-safe.
    async fn first_to_panic(&mut self) -> EngineError {
        loop {
            let (loop_name, end) = tokio::select! {
                Some(end) = self.claimers.join_next() => ("claimer", end),
                Some(end) = self.slots.join_next() => ("slot", end),
                else => return std::future::pending().await,
            };
            if end.is_err() {
                return loop_ended(loop_name, end);
            }
        }
    }

    /// Stops claiming, releases unstarted tasks, waits for the rest.
    async fn stop(mut self, core: &Core) {
        while self.claimers.join_next().await.is_some() {}
        let unstarted: Vec<ClaimedTask> = self
            .backlogs
            .iter()
            .flat_map(|backlog| backlog.close())
            .chain(core.suspects.close())
            .collect();
        if !unstarted.is_empty() {
            tracing::info!(
                n_tasks = unstarted.len(),
                "releasing tasks that had not started"
            );
        }
        for claimed in unstarted {
            completer::hand_over(core, QueuedOutcome::released(claimed)).await;
        }
        let deadline = Instant::now() + core.config.shutdown_timeout;
        let finished = async { while self.slots.join_next().await.is_some() {} };
        tokio::pin!(finished);
        tokio::select! {
            () = &mut finished => return,
            () = core.shutdown.reached(Phase::Aborting) => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
        tracing::warn!(
            n_tasks = core.claims.n_tasks(),
            "stopping attempts that are still running; their tasks will run again"
        );
        core.claims.interrupt();
        let _ = tokio::time::timeout(INTERRUPT_GRACE, finished).await;
    }
}

/// Loops that end only with the engine, by name.
fn background(
    core: &Arc<Core>,
    facts: RunnerFacts,
    logs: &Arc<PublishedLogs>,
) -> Vec<(&'static str, JoinHandle<()>)> {
    let beat = heartbeat::Heartbeat::new(Arc::clone(core), facts);
    let (control, watched) = (control(), Arc::clone(core));
    let mut loops = vec![
        ("heartbeat", control.spawn(beat.run())),
        (
            "watchdog",
            control.spawn(async move { watched.watchdog.run().await }),
        ),
        (
            "promote",
            tokio::spawn(maintenance::promote(Arc::clone(core))),
        ),
        (
            "rescue",
            tokio::spawn(maintenance::rescue(Arc::clone(core))),
        ),
        ("tend", tokio::spawn(maintenance::tend(Arc::clone(core)))),
        ("prune", tokio::spawn(maintenance::prune(Arc::clone(core)))),
        (
            "stream",
            tokio::spawn(streamer::stream(Arc::clone(core), Arc::clone(logs))),
        ),
        (
            "push facts",
            tokio::spawn(push_facts::follow(Arc::clone(core))),
        ),
        (
            "served",
            tokio::spawn(schema_check::watch(Arc::clone(core))),
        ),
        (
            "suspects",
            tokio::spawn(defer::defer_overdue_suspects(Arc::clone(core))),
        ),
        (
            "publish",
            tokio::spawn(published_handlers::follow(Arc::clone(core))),
        ),
    ];
    if !core.config.poll_only {
        loops.push(("listen", tokio::spawn(waker::listen(Arc::clone(core)))));
    }
    loops
}

async fn first_to_end(background: &mut [(&'static str, JoinHandle<()>)]) -> EngineError {
    let waits = background
        .iter_mut()
        .map(|(name, handle)| Box::pin(async move { (*name, handle.await) }));
    let ((loop_name, end), ..) = futures_util::future::select_all(waits).await;
    loop_ended(loop_name, end)
}

fn loop_ended(loop_name: &'static str, end: Result<(), JoinError>) -> EngineError {
    let reason = end
        .err()
        .map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    EngineError::LoopEnded { loop_name, reason }
}

/// Waits until the configuration's own stop condition is met; never returns if it has
/// none.
async fn nothing_more_to_do(core: &Core) {
    let config = &core.config;
    if !config.drain && config.max_tasks.is_none() && config.idle_exit.is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if config
            .max_tasks
            .is_some_and(|most| core.stats.n_final() >= most)
        {
            return;
        }
        let idle = core
            .last_work
            .lock()
            .map_or(Duration::ZERO, |last| last.elapsed());
        let nothing_held = core.claims.n_tasks() == 0;
        if nothing_held && config.idle_exit.is_some_and(|longest| idle >= longest) {
            return;
        }
        if nothing_held && config.drain {
            if core.found_nothing() {
                return;
            }
            core.promote_now.notify_one();
            core.wake_all();
        }
    }
}

/// Stores the remaining outcomes. The loops stop last: the heartbeat holds the lease
/// while the completer works.
async fn flush(
    core: &Core,
    logs: &PublishedLogs,
    completer: &JoinHandle<()>,
    background: &mut Vec<(&'static str, JoinHandle<()>)>,
) {
    let began = Instant::now();
    let deadline = began + FLUSH_GRACE;
    let is_busy = || {
        let waits = match began.elapsed() < LOCK_GRACE {
            true => 0,
            false => core.parked.n_locked(),
        };
        core.claims.n_tasks() > waits || core.storing.load(SeqCst)
    };
    while is_busy() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let n_left = core.claims.n_tasks();
    if n_left > 0 {
        tracing::warn!(n_tasks = n_left, "could not store every outcome in time");
    }
    streamer::clear(core, logs).await;
    completer.abort();
    for (_, handle) in background.drain(..) {
        handle.abort();
    }
}
