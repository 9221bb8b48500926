//! The loop that keeps the registry in step with the plugin directory.
//!
//! One task makes all decisions, so that no order of events needs guarding: it scans,
//! asks the file tracker which files are ready or gone, and asks the schedule which file
//! is read or loaded next. The steps run in tasks of their own. Only this loop changes
//! what serves.
//!
//! ```text
//! events ─ hint ─┐
//! rescan timer ──┼─► scan ─► tracker ─► ready ─► schedule ─► Loader ─► serve | reject
//! rescan() ──────┘              └─────► gone ──► retire
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::directory_problem;
use super::file_tracker::{FileChange, FileTracker};
use super::load::{InspectOutcome, Loader};
use super::load_request::LoadRequest;
use super::load_schedule::LoadSchedule;
use super::options::DirectoryOptions;
use super::pending_retries::PendingRetries;
use super::ready_file::ReadyFile;
use super::registry::{NewVersion, Registry};
use super::rejected::PluginRejected;
use super::scan::{DirectoryListing, scan};
use super::status::PluginState;
use super::waiters::Waiters;
use super::watcher::Watcher;
use pgtq_task::Name;

mod decide;
mod steps;

/// Events come in bursts; after the first one, wait this long for the rest of the burst.
const GATHER: Duration = Duration::from_millis(20);
/// A directory that is slow to read is read for at most this share of the time.
const SCAN_SHARE: u32 = 20;

pub(super) struct Keeper {
    dir: PathBuf,
    options: DirectoryOptions,
    registry: Registry,
    loader: Arc<Loader>,
    tracker: FileTracker,
    watcher: Option<Watcher>,
    watch_failed: bool,
    hint: Arc<Notify>,
    schedule: LoadSchedule,
    /// Aborts the running steps when dropped.
    tasks: JoinSet<StepResult>,
    running: HashMap<Id, StepTask>,
    /// Rejected because other files serve some of these names.
    blocked: BTreeMap<String, Vec<Name>>,
    /// Rejected because too many other plugins serve.
    too_many: BTreeSet<String>,
    retries: PendingRetries,
    waiters: Waiters,
    /// Until the files of the first scan have settled.
    gathering: bool,
    /// Whether the last read of the directory succeeded.
    readable: bool,
    next_scan: Instant,
}

/// A running step.
struct StepTask {
    request: LoadRequest,
    task: AbortHandle,
}

/// The result of a step.
enum StepResult {
    Inspect(Result<InspectOutcome, PluginRejected>),
    Load(Result<Option<NewVersion>, PluginRejected>),
}

impl Keeper {
    pub(super) fn new(
        dir: PathBuf,
        options: DirectoryOptions,
        registry: Registry,
        loader: Loader,
    ) -> Keeper {
        Keeper {
            dir,
            options,
            registry,
            loader: Arc::new(loader),
            tracker: FileTracker::default(),
            watcher: None,
            watch_failed: false,
            hint: Arc::default(),
            schedule: LoadSchedule::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            blocked: BTreeMap::new(),
            too_many: BTreeSet::new(),
            retries: PendingRetries::default(),
            waiters: Waiters::default(),
            gathering: true,
            readable: true,
            next_scan: Instant::now(),
        }
    }

    /// Runs until dropped, or until every sender of `requests` is gone. Each request is
    /// answered when everything that the next scan found is complete.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
        // The end of a step does not require another scan.
        let mut scan_due = true;
        loop {
            if scan_due {
                let began = Instant::now();
                self.scan().await;
                let pause = began.elapsed() * SCAN_SHARE;
                self.next_scan = Instant::now() + self.options.rescan_every.max(pause);
            }
            self.start_steps();
            self.answer();
            let wake_at = self.wake_at();
            scan_due = tokio::select! {
                () = self.hint.notified() => {
                    sleep(GATHER).await;
                    true
                }
                () = sleep_until(wake_at) => true,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.handle_ended(ended);
                    false
                }
                request = requests.recv() => match request {
                    Some(done) => {
                        self.waiters.add(done);
                        true
                    }
                    None => return,
                },
            }
        }
    }

    /// Scans, and updates the file tracker and the schedule.
    async fn scan(&mut self) {
        let dir = self.dir.clone();
        let listing = tokio::task::spawn_blocking(move || scan(&dir)).await;
        let listing = listing.map_err(|panic| panic.to_string());
        let listing = listing.and_then(|listing| listing.map_err(|error| error.to_string()));
        self.readable = listing.is_ok();
        match listing {
            Ok(listing) => self.take_in(listing, Instant::now()),
            Err(reason) => {
                // A new directory of that name may get the inode of the old one.
                self.watcher = None;
                let dir = self.dir.display();
                let problem = format!("cannot read {dir}: {reason}");
                directory_problem::note(&self.registry, &self.dir, Some(problem));
            }
        }
    }

    fn take_in(&mut self, listing: DirectoryListing, now: Instant) {
        self.keep_watching(listing.identity);
        let complete = listing.complete;
        self.observe(listing, now);
        for ready in self.tracker.take_ready(&self.options, now) {
            self.schedule.add(LoadRequest {
                ready,
                is_retry: false,
                alone: false,
            });
        }
        for file in self.tracker.take_gone(&self.options, now) {
            self.retire(&file);
        }
        for ready in self.retries.take_ended(now) {
            self.try_again(ready);
        }
        self.registry.refresh();
        let problem = directory_problem::of(
            complete,
            self.tracker
                .is_directory_away()
                .then_some(self.options.retire_after_swap),
            &self.too_many,
            self.registry.is_cut(),
        );
        directory_problem::note(&self.registry, &self.dir, problem);
    }

    fn observe(&mut self, listing: DirectoryListing, now: Instant) {
        for change in self.tracker.observe(listing, now) {
            let file = match change {
                FileChange::Discovered(file) => {
                    let state = PluginState::Discovered;
                    self.registry.note(&file, state, None, None);
                    file
                }
                FileChange::Changed(file) => file,
            };
            // Everything known about the old bytes is void.
            let held = self.schedule.withdraw(&file);
            self.plan_again(held);
            self.blocked.remove(&file);
            self.too_many.remove(&file);
            self.retries.forget(&file);
            self.settling(&file);
        }
        if self.gathering {
            self.tracker
                .trust_old_files(&self.options, now, SystemTime::now());
        }
    }

    fn keep_watching(&mut self, identity: (u64, u64)) {
        let good = |watcher: &Watcher| watcher.is_good_for(identity);
        if self.options.poll_only || self.watcher.as_ref().is_some_and(good) {
            return;
        }
        match Watcher::new(&self.dir, identity, Arc::clone(&self.hint)) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.watch_failed = false;
                // Catches changes between the scan and the watch.
                self.hint.notify_one();
            }
            Err(error) => {
                self.watcher = None;
                if !self.watch_failed {
                    tracing::warn!(
                        dir = %self.dir.display(), %error,
                        "no file system events for the plugin directory; it is still scanned every {:?}",
                        self.options.rescan_every
                    );
                }
                self.watch_failed = true;
            }
        }
    }

    /// The file is live or rejected, or has newer bytes.
    fn complete(&mut self, file: &str, unsettled: bool) {
        let held = self.schedule.release_names(file);
        self.plan_again(held);
        // With newer bytes to read, the file is not complete. A file that never settles
        // is waited for only once.
        if unsettled || !self.tracker.is_unread(file) {
            self.waiters.complete(file);
        }
    }

    fn try_again(&mut self, ready: ReadyFile) {
        if !self.schedule.files().any(|file| *file == ready.file) {
            self.schedule.add(LoadRequest {
                ready,
                is_retry: true,
                alone: false,
            });
        }
    }

    fn retire(&mut self, file: &str) {
        let ours = self
            .running
            .extract_if(|_, job| job.request.ready.file == file);
        for (_, job) in ours {
            job.task.abort();
            self.schedule.ended(file);
        }
        let freed = self.registry.retire(file);
        self.unblock(&freed);
        self.forget(file);
    }

    fn settling(&self, file: &str) {
        self.registry.note(file, PluginState::Settling, None, None);
    }

    fn forget(&mut self, file: &str) {
        let mut held = self.schedule.withdraw(file);
        held.append(&mut self.schedule.release_names(file));
        self.plan_again(held);
        self.blocked.remove(file);
        self.too_many.remove(file);
        self.retries.forget(file);
        self.waiters.complete(file);
    }

    /// Answers the callers whose files are all complete.
    fn answer(&mut self) {
        let unfinished = || {
            let open = self.tracker.unfinished().chain(self.schedule.files());
            open.cloned().collect::<HashSet<String>>()
        };
        self.waiters.answer(unfinished);
    }

    fn wake_at(&self) -> Instant {
        if !self.readable {
            // Nothing can become ready or gone before the directory can be read.
            return self.next_scan;
        }
        let moments = [
            self.retries.next(),
            self.tracker.next(&self.options),
            self.schedule.next_moment(Instant::now()),
        ];
        moments
            .into_iter()
            .flatten()
            .fold(self.next_scan, Instant::min)
    }
}
