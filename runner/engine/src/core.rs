//! What every loop of one engine shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use tokio::sync::{Notify, Semaphore, mpsc};

use super::completer::{MAX_WAITING_KIB, QueuedEnding};
use super::config::EngineConfig;
use super::held::HeldBytes;
use super::lease::Lease;
use super::ledger::Ledger;
use super::parked::ParkedOutcomes;
use super::served::Served;
use super::shutdown::Shutdown;
use super::sleep::Sleep;
use super::stats::Stats;
use super::streamer::Streamed;
use super::suspects::Suspects;
use super::unknown_traits::UnknownTraits;
use super::watchdog::Watchdog;
use crate::plugin::Registry;
use pgtq_store::Store;
use pgtq_task::RunnerId;

/// Held behind one `Arc` by every loop; dropped when the last loop ends.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) config: EngineConfig,
    pub(crate) shutdown: Shutdown,
    pub(crate) ledger: Ledger,
    pub(crate) stats: Arc<Stats>,
    /// Endings on their way to the store. Bounded: slots wait when the
    /// database is slower than they are.
    pub(crate) endings: mpsc::Sender<QueuedEnding>,
    /// Bounds them in KiB.
    pub(crate) ending_room: Arc<Semaphore>,
    /// Arguments of the tasks held.
    pub(crate) held: HeldBytes,
    /// Endings are being stored: the ledger may have lost their claims meanwhile,
    /// because a flush whose answer is lost has closed them.
    pub(crate) storing: AtomicBool,
    /// Endings cannot be stored at the moment: nothing more is claimed until they are.
    pub(crate) storing_fails: AtomicBool,
    /// Outcomes that cannot be stored though others can.
    pub(crate) parked: ParkedOutcomes,
    /// Tasks that runners died under.
    pub(crate) suspects: Suspects,
    /// Tasks that were pushed for a newer program.
    pub(crate) unknown_traits: UnknownTraits,
    /// One per queue group: rung when there may be something to claim.
    pub(crate) wake: Vec<Arc<Notify>>,
    /// Looks in a row, per queue group, that found nothing to claim.
    pub(crate) empty_looks: Vec<AtomicU32>,
    /// Promotes in a row that found nothing due.
    pub(crate) empty_promotes: AtomicU32,
    /// Rung when a heartbeat should not wait: a cancel request came in, or progress.
    pub(crate) beat_now: Notify,
    /// Rung when a promote should not wait: something new may be due.
    pub(crate) promote_now: Notify,
    /// Whether pushes are asked to notify us.
    pub(crate) sleep: Sleep,
    /// Attempts with log lines in the database.
    pub(crate) streamed: Streamed,
    /// Whether what the ledger says can be trusted.
    pub(crate) lease: Lease,
    /// Sees the handlers that do not yield.
    pub(crate) watchdog: Watchdog,
    /// Whether the schema is still one for this program.
    pub(crate) served: Served,
    /// When the last task ended or was claimed: for `idle_exit`.
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

    /// Who we are in the database; changes when the lease was lost.
    pub(crate) fn runner(&self) -> RunnerId {
        RunnerId(self.runner.load(SeqCst))
    }

    pub(crate) fn set_runner(&self, id: RunnerId) {
        self.runner.store(id.0, SeqCst);
    }

    /// Tells every claimer to look at the database.
    pub(crate) fn wake_all(&self) {
        self.wake.iter().for_each(|group| group.notify_one());
    }

    /// Whether promote and every claimer looked twice in a row and found
    /// nothing. Twice, because the first may have begun before the last change.
    pub(crate) fn found_nothing(&self) -> bool {
        let twice = |looks: &AtomicU32| looks.load(SeqCst) >= 2;
        self.lease.is_held() && twice(&self.empty_promotes) && self.empty_looks.iter().all(twice)
    }

    /// Notes that there may be something new to claim (an ending stores
    /// children and retries): what was found before says nothing any more.
    pub(crate) fn look_again(&self) {
        self.empty_promotes.store(0, SeqCst);
        for looks in &self.empty_looks {
            looks.store(0, SeqCst);
        }
    }

    /// Notes that there was work.
    pub(crate) fn touch(&self) {
        if let Ok(mut last) = self.last_work.lock() {
            *last = Instant::now();
        }
    }
}
