//! State that every loop of one engine shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore, mpsc};

use super::held_bytes::HeldBytes;
use super::held_claims::HeldClaims;
use super::lease::RunnerLease;
use super::parked_counts::ParkedCounts;
use super::queued_outcome::{MAX_WAITING_KIB, QueuedOutcome};
use super::schema_status::SchemaStatus;
use super::shutdown::Shutdown;
use super::stats::EngineStats;
use super::suspects::Suspects;
use super::unknown_traits::UnknownTraits;
use super::wake_requests::WakeRequests;
use super::watchdog::Watchdog;
use crate::config::EngineConfig;
use crate::plugin::registry::Registry;
use pgtq_store::Store;
use pgtq_task::RunnerId;

/// Every loop holds it in one `Arc`; dropped when the last loop ends.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) config: EngineConfig,
    pub(crate) shutdown: Shutdown,
    /// The claims that this runner holds.
    pub(crate) claims: HeldClaims,
    pub(crate) stats: Arc<EngineStats>,
    /// Outcomes on their way to the store. Bounded: slots wait when the database is
    /// slower than they are.
    pub(crate) outcomes: mpsc::Sender<QueuedOutcome>,
    /// Bounds their size, in KiB.
    pub(crate) outcome_room: Arc<Semaphore>,
    /// Argument bytes of the held tasks.
    pub(crate) held: HeldBytes,
    /// Outcomes are being stored: their claims may no longer be in `claims`, because a
    /// flush whose answer is lost may have closed them.
    pub(crate) storing: AtomicBool,
    /// Outcomes cannot be stored at the moment: nothing more is claimed until they can.
    pub(crate) storing_fails: AtomicBool,
    /// How many outcomes cannot be stored although others can.
    pub(crate) parked: ParkedCounts,
    /// Tasks suspected of crashing runners.
    pub(crate) suspects: Suspects,
    /// Tasks with traits that only a newer program knows.
    pub(crate) unknown_traits: UnknownTraits,
    /// One per queue group: notified when there may be something to claim.
    pub(crate) wake: Vec<Arc<Notify>>,
    /// Consecutive empty claims, per queue group.
    pub(crate) empty_claims: Vec<AtomicU32>,
    /// Consecutive promotes that found nothing due.
    pub(crate) empty_promotes: AtomicU32,
    /// Notified when the next heartbeat is urgent: a cancel request arrived, or progress.
    pub(crate) beat_now: Notify,
    /// Notified when a promote is urgent: a new task may be due.
    pub(crate) promote_now: Notify,
    /// Which queue groups have asked pushes to notify them.
    pub(crate) wake_requests: WakeRequests,
    /// Whether the lease is valid, and with it the claims.
    pub(crate) lease: RunnerLease,
    /// Detects handlers that do not yield.
    pub(crate) watchdog: Watchdog,
    /// Whether the schema still serves this program.
    pub(crate) schema: SchemaStatus,
    /// When a task was last finished or claimed: for `idle_exit`.
    pub(crate) last_work: std::sync::Mutex<Instant>,
    runner: AtomicI64,
}

impl Core {
    pub(crate) fn new(
        store: Store,
        registry: Registry,
        config: EngineConfig,
        shutdown: Shutdown,
        stats: Arc<EngineStats>,
        outcomes: mpsc::Sender<QueuedOutcome>,
        (runner, lease): (RunnerId, RunnerLease),
    ) -> Self {
        let wake_requests = WakeRequests::new(config.queues.len());
        let wake = config.queues.iter().map(|_| Arc::default()).collect();
        let empty_claims = config.queues.iter().map(|_| AtomicU32::new(0)).collect();
        Core {
            store,
            registry,
            config,
            shutdown,
            claims: HeldClaims::default(),
            stats,
            outcomes,
            outcome_room: Arc::new(Semaphore::new(MAX_WAITING_KIB as usize)),
            held: HeldBytes::default(),
            storing: AtomicBool::new(false),
            storing_fails: AtomicBool::new(false),
            parked: ParkedCounts::default(),
            suspects: Suspects::default(),
            unknown_traits: UnknownTraits::default(),
            wake,
            empty_claims,
            empty_promotes: AtomicU32::new(0),
            beat_now: Notify::new(),
            promote_now: Notify::new(),
            wake_requests,
            lease,
            watchdog: Watchdog::default(),
            schema: SchemaStatus::default(),
            last_work: std::sync::Mutex::new(Instant::now()),
            runner: AtomicI64::new(runner.0),
        }
    }

    /// This runner's id in the database; changes when the lease was lost.
    pub(crate) fn runner(&self) -> RunnerId {
        RunnerId(self.runner.load(SeqCst))
    }

    pub(crate) fn set_runner(&self, id: RunnerId) {
        self.runner.store(id.0, SeqCst);
    }

    /// Wakes every claimer.
    pub(crate) fn wake_all(&self) {
        self.wake.iter().for_each(|group| group.notify_one());
    }

    /// Whether promote and every claimer found nothing twice in a row. Twice, because the
    /// first check may have begun before the last change.
    pub(crate) fn found_nothing(&self) -> bool {
        let twice = |count: &AtomicU32| count.load(SeqCst) >= 2;
        self.lease.is_held() && twice(&self.empty_promotes) && self.empty_claims.iter().all(twice)
    }

    /// Records that there may be something new to claim, because an outcome stores
    /// children and retries: earlier empty results no longer count.
    pub(crate) fn expect_work(&self) {
        self.empty_promotes.store(0, SeqCst);
        for count in &self.empty_claims {
            count.store(0, SeqCst);
        }
    }

    /// Records activity.
    pub(crate) fn touch(&self) {
        if let Ok(mut last) = self.last_work.lock() {
            *last = Instant::now();
        }
    }
}
