//! State that every loop of one engine shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore, mpsc};

use crate::background::schema_check::Served;
use crate::background::streamer::Streamed;
use crate::config::EngineConfig;
use crate::outcome::completer::{MAX_WAITING_KIB, QueuedEnding};
use crate::outcome::parked::ParkedOutcomes;
use crate::plugin::registry::Registry;
use crate::state::held_bytes::HeldBytes;
use crate::state::held_claims::Ledger;
use crate::state::lease::Lease;
use crate::state::shutdown::Shutdown;
use crate::state::stats::Stats;
use crate::state::suspects::Suspects;
use crate::state::unknown_traits::UnknownTraits;
use crate::state::wake_requests::Sleep;
use crate::state::watchdog::Watchdog;
use pgtq_store::Store;
use pgtq_task::RunnerId;

/// Every loop holds it in one `Arc`; dropped when the last loop ends.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) config: EngineConfig,
    pub(crate) shutdown: Shutdown,
    pub(crate) ledger: Ledger,
    pub(crate) stats: Arc<Stats>,
    /// Outcomes on their way to the store. Bounded: slots wait when the database is
    /// slower than they are.
    pub(crate) endings: mpsc::Sender<QueuedEnding>,
    /// Bounds their size, in KiB.
    pub(crate) ending_room: Arc<Semaphore>,
    /// Argument bytes of the held tasks.
    pub(crate) held: HeldBytes,
    /// Outcomes are being stored: the ledger may have lost their claims meanwhile,
    /// because a flush whose answer is lost may have closed them.
    pub(crate) storing: AtomicBool,
    /// Outcomes cannot be stored at the moment: nothing more is claimed until they can.
    pub(crate) storing_fails: AtomicBool,
    /// Outcomes that cannot be stored although others can.
    pub(crate) parked: ParkedOutcomes,
    /// Tasks suspected of crashing runners.
    pub(crate) suspects: Suspects,
    /// Tasks with traits that only a newer program knows.
    pub(crate) unknown_traits: UnknownTraits,
    /// One per queue group: notified when there may be something to claim.
    pub(crate) wake: Vec<Arc<Notify>>,
    /// Consecutive empty claims, per queue group.
    pub(crate) empty_looks: Vec<AtomicU32>,
    /// Consecutive promotes that found nothing due.
    pub(crate) empty_promotes: AtomicU32,
    /// Notified when the next heartbeat is urgent: a cancel request arrived, or progress.
    pub(crate) beat_now: Notify,
    /// Notified when a promote is urgent: a new task may be due.
    pub(crate) promote_now: Notify,
    /// Which queue groups have asked pushes to notify them.
    pub(crate) sleep: Sleep,
    /// Attempts with log lines in the database.
    pub(crate) streamed: Streamed,
    /// Whether the lease is valid, and with it the ledger.
    pub(crate) lease: Lease,
    /// Detects handlers that do not yield.
    pub(crate) watchdog: Watchdog,
    /// Whether the schema still serves this program.
    pub(crate) served: Served,
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
        stats: Arc<Stats>,
        endings: mpsc::Sender<QueuedEnding>,
        (runner, lease): (RunnerId, Lease),
    ) -> Self {
        let sleep = Sleep::new(config.queues.len());
        let wake = config.queues.iter().map(|_| Arc::default()).collect();
        let empty_looks = config.queues.iter().map(|_| AtomicU32::new(0)).collect();
        Core {
            store,
            registry,
            config,
            shutdown,
            ledger: Ledger::default(),
            stats,
            endings,
            ending_room: Arc::new(Semaphore::new(MAX_WAITING_KIB as usize)),
            held: HeldBytes::default(),
            storing: AtomicBool::new(false),
            storing_fails: AtomicBool::new(false),
            parked: ParkedOutcomes::default(),
            suspects: Suspects::default(),
            unknown_traits: UnknownTraits::default(),
            wake,
            empty_looks,
            empty_promotes: AtomicU32::new(0),
            beat_now: Notify::new(),
            promote_now: Notify::new(),
            sleep,
            streamed: Streamed::default(),
            lease,
            watchdog: Watchdog::default(),
            served: Served::default(),
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
        let twice = |looks: &AtomicU32| looks.load(SeqCst) >= 2;
        self.lease.is_held() && twice(&self.empty_promotes) && self.empty_looks.iter().all(twice)
    }

    /// Records that there may be something new to claim, because an outcome stores
    /// children and retries: earlier empty results no longer count.
    pub(crate) fn look_again(&self) {
        self.empty_promotes.store(0, SeqCst);
        for looks in &self.empty_looks {
            looks.store(0, SeqCst);
        }
    }

    /// Records activity.
    pub(crate) fn touch(&self) {
        if let Ok(mut last) = self.last_work.lock() {
            *last = Instant::now();
        }
    }
}
