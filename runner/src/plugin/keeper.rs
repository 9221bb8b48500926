//! The loop that keeps the registry as the directory says.
//!
//! One task owns all decisions, so that there is no order of events to guard
//! against: it scans, lets the book say what is ready or gone, and has at most
//! one file loading at a time in a task of its own. It alone changes what
//! serves.
//!
//! ```text
//! events ─ hint ─┐
//! rescan timer ──┼─► scan ─► book ─► ready ─► Loader (one at a time) ─► serve | refuse
//! rescan() ──────┘             └───► gone ──► retire
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::book::{Book, MAX_FILES, Ready, Sighting};
use super::directory::DirectoryOptions;
use super::load::{Again, Ending, Loader, Refusal};
use super::pauses::Pauses;
use super::registry::Registry;
use super::scan::{Listing, scan};
use super::status::PluginState;
use super::waiters::Waiters;
use super::watcher::Watcher;

/// Events come in bursts; after the first one, wait so long for its fellows.
const GATHER: Duration = Duration::from_millis(20);

pub(super) struct Keeper {
    dir: PathBuf,
    options: DirectoryOptions,
    registry: Registry,
    loader: Arc<Loader>,
    book: Book,
    watcher: Option<Watcher>,
    watch_failed: bool,
    hint: Arc<Notify>,
    /// Files to load; whether each is a second try, which comes after news.
    queue: BTreeMap<String, Order>,
    /// The file being loaded. The set holds one task at most, and aborts it
    /// when dropped.
    loading: Option<Ready>,
    load: JoinSet<Ending>,
    /// Refused only because another file serves one of their names.
    blocked: BTreeSet<String>,
    pauses: Pauses,
    waiters: Waiters,
    /// Until the files of the first scan stand still.
    gathering: bool,
}

struct Order {
    ready: Ready,
    again: bool,
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
            book: Book::default(),
            watcher: None,
            watch_failed: false,
            hint: Arc::default(),
            queue: BTreeMap::new(),
            loading: None,
            load: JoinSet::new(),
            blocked: BTreeSet::new(),
            pauses: Pauses::default(),
            waiters: Waiters::default(),
            gathering: true,
        }
    }

    /// Runs until dropped, or until nobody can send `requests` any more.
    /// Each request is answered when a scan that began after it is worked off.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            let next_scan = Instant::now() + self.options.rescan_every;
            let wake_at = match self.look().await {
                Ok(()) => self.wake_at(next_scan),
                Err(reason) => {
                    self.directory_is_in_trouble(&reason);
                    // Nothing can become ready or gone before it can be read.
                    next_scan
                }
            };
            self.start_next();
            self.answer();
            tokio::select! {
                () = self.hint.notified() => sleep(GATHER).await,
                () = sleep_until(wake_at) => {}
                Some(ending) = self.load.join_next() => self.end(ending),
                request = requests.recv() => match request {
                    Some(done) => self.waiters.add(done),
                    None => return,
                },
            }
        }
    }

    /// Scans, and brings the book and the queue up to date.
    async fn look(&mut self) -> Result<(), String> {
        let dir = self.dir.clone();
        let listing = tokio::task::spawn_blocking(move || scan(&dir)).await;
        let listing = listing.map_err(|panic| panic.to_string())?;
        let listing = listing.map_err(|error| error.to_string())?;
        let now = Instant::now();
        self.keep_watching(listing.identity);
        self.observe(listing, now);
        for ready in self.book.take_ready(&self.options, now) {
            let order = Order {
                ready: ready.clone(),
                again: false,
            };
            self.queue.insert(ready.file, order);
        }
        for file in self.book.take_gone(&self.options, now) {
            self.retire(&file).await;
        }
        for ready in self.pauses.take_over(now) {
            self.try_again(ready);
        }
        self.registry.refresh();
        Ok(())
    }

    fn observe(&mut self, listing: Listing, now: Instant) {
        let complete = listing.complete;
        for sighting in self.book.observe(listing, now) {
            let file = match sighting {
                Sighting::Discovered(file) => {
                    let state = PluginState::Discovered;
                    self.registry.note(&file, state, None, None);
                    file
                }
                Sighting::Changed(file) => file,
            };
            // What was known of the old bytes is void.
            self.queue.remove(&file);
            self.blocked.remove(&file);
            self.pauses.forget(&file);
            self.settling(&file);
        }
        if self.gathering {
            self.book
                .trust_old_files(&self.options, now, SystemTime::now());
        }
        let ignored = self.book.ignored;
        let trouble = (ignored > 0 || !complete)
            .then(|| format!("more than {MAX_FILES} plugin files; those above that are ignored"));
        self.note_trouble(trouble);
    }

    fn directory_is_in_trouble(&mut self, reason: &str) {
        // A new directory of that name may get the inode of the old one.
        self.watcher = None;
        let dir = self.dir.display();
        self.note_trouble(Some(format!("cannot read {dir}: {reason}")));
    }

    fn note_trouble(&self, trouble: Option<String>) {
        let before = self.registry.snapshot().trouble.clone();
        if before == trouble {
            return;
        }
        match &trouble {
            Some(reason) => tracing::warn!(
                dir = %self.dir.display(), reason,
                "plugin directory: {reason}; what is loaded keeps serving"
            ),
            None => tracing::info!(dir = %self.dir.display(), "plugin directory is in order again"),
        }
        self.registry.note_trouble(trouble);
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
                // For what happened between the scan and the watch.
                self.hint.notify_one();
            }
            Err(error) => {
                self.watcher = None;
                if !self.watch_failed {
                    tracing::warn!(
                        dir = %self.dir.display(), %error,
                        "no file system events for the plugin directory; it is read every {:?} all the same",
                        self.options.rescan_every
                    );
                }
                self.watch_failed = true;
            }
        }
    }

    /// Begins with the next file, if none is loading.
    fn start_next(&mut self) {
        // At the start all files are ready before the first is loaded, so that
        // handler names are given in file name order.
        self.gathering = self.gathering && self.book.is_settling();
        if self.gathering || self.loading.is_some() {
            return;
        }
        let first = self
            .queue
            .iter()
            .min_by_key(|(_, order)| order.again)
            .map(|(file, _)| file.clone());
        let Some(order) = first.and_then(|file| self.queue.remove(&file)) else {
            return;
        };
        let missing = self.book.missing().cloned().collect();
        let loader = Arc::clone(&self.loader);
        self.load.spawn(loader.load(order.ready.clone(), missing));
        self.loading = Some(order.ready);
    }

    /// Decides about a load that has ended.
    fn end(&mut self, ending: Result<Ending, JoinError>) {
        let Some(ready) = self.loading.take() else {
            return;
        };
        let (file, restless) = (ready.file.clone(), ready.restless);
        let ending = ending.unwrap_or_else(|error| {
            let reason = format!("internal error while loading: {error}");
            Ending::Refused(Refusal::new(None, reason, Again::Later))
        });
        match ending {
            Ending::Accepted(new) => {
                let digest = new.digest;
                match self.registry.serve(&file, new) {
                    Ok(()) => self.went_live(&file),
                    Err(conflict) => {
                        let reason = conflict.to_string();
                        let refusal = Refusal::new(digest, reason, Again::WhenNamesChange);
                        self.refuse(ready, refusal);
                    }
                }
            }
            Ending::Same(digest) => {
                self.pauses.forget(&file);
                self.registry
                    .note(&file, PluginState::Live, Some(digest), None);
            }
            Ending::MovedFrom(from) => {
                if self.registry.rename(&from, &file) {
                    self.book.forget(&from);
                    self.forget(&from);
                    self.went_live(&file);
                } else {
                    self.book.settle_again(&file, true, Instant::now());
                }
            }
            Ending::Refused(refusal) => self.refuse(ready, refusal),
            Ending::Moving => {
                self.settling(&file);
                self.book.settle_again(&file, true, Instant::now());
            }
        }
        // With newer bytes to read, this was not the end of it. A file that
        // never stands still is waited for only once.
        if restless || !self.book.is_unread(&file) {
            self.waiters.worked_off(&file);
        }
    }

    fn went_live(&mut self, file: &str) {
        self.registry.snapshot().warn_of_refusals(file);
        self.pauses.forget(file);
        self.unblock();
    }

    fn refuse(&mut self, ready: Ready, refusal: Refusal) {
        let now = Instant::now();
        if ready.restless {
            // Half a file, most likely. It is judged when it stands still.
            self.settling(&ready.file);
            return self.book.settle_again(&ready.file, false, now);
        }
        let Refusal { digest, reason, .. } = refusal;
        self.registry
            .note(&ready.file, PluginState::Refused, digest, Some(reason));
        match refusal.again {
            Again::Never => {
                self.pauses.forget(&ready.file);
            }
            Again::WhenNamesChange => {
                self.blocked.insert(ready.file);
            }
            Again::Later => {
                let first = self.options.retry_after;
                self.pauses.begin(ready, first, now);
            }
        }
    }

    fn try_again(&mut self, ready: Ready) {
        let file = ready.file.clone();
        let order = Order { ready, again: true };
        self.queue.entry(file).or_insert(order);
    }

    async fn retire(&mut self, file: &str) {
        if self
            .loading
            .as_ref()
            .is_some_and(|ready| ready.file == file)
        {
            // Waits for its end, so that nothing shows the file again.
            self.load.shutdown().await;
            self.loading = None;
        }
        self.registry.retire(file);
        self.unblock();
        self.forget(file);
    }

    fn settling(&self, file: &str) {
        self.registry.note(file, PluginState::Settling, None, None);
    }

    fn forget(&mut self, file: &str) {
        self.queue.remove(file);
        self.blocked.remove(file);
        self.pauses.forget(file);
        self.waiters.worked_off(file);
    }

    /// The served names have changed: those that were refused for a name get
    /// another try.
    fn unblock(&mut self) {
        for file in std::mem::take(&mut self.blocked) {
            let Some(seen) = self.book.seen(&file).cloned() else {
                // Missing; if it comes back, it is read again.
                self.book.settle_again(&file, true, Instant::now());
                continue;
            };
            self.waiters.wait_for(&file);
            let restless = false;
            self.try_again(Ready {
                file,
                seen,
                restless,
            });
        }
    }

    /// Tells those whose scan is worked off.
    fn answer(&mut self) {
        let unfinished = || {
            let loading = self.loading.iter().map(|ready| &ready.file);
            let open = self.book.unfinished().chain(self.queue.keys());
            open.chain(loading).cloned().collect::<HashSet<String>>()
        };
        self.waiters.answer(unfinished);
    }

    fn wake_at(&self, next_scan: Instant) -> Instant {
        let moments = [self.pauses.next(), self.book.next(&self.options)];
        moments.into_iter().flatten().fold(next_scan, Instant::min)
    }
}
