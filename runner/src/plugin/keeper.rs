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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::book::{Book, MAX_FILES, Ready, Sighting};
use super::directory::DirectoryOptions;
use super::load::{Again, Ending, Loader, Refusal};
use super::registry::Registry;
use super::scan::{Listing, scan};
use super::status::PluginState;
use super::watcher::Watcher;

/// Events come in bursts; after the first one, wait so long for its fellows.
const GATHER: Duration = Duration::from_millis(20);

/// The pause before a load that may have failed by this machine's fault is
/// tried again doubles up to this, so that a file that always exhausts the
/// compiler's minute costs at most a minute of every fifteen.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

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
    pauses: HashMap<String, Pause>,
    waiters: Vec<Waiter>,
    /// Until the first scan is worked off.
    starting: bool,
}

struct Order {
    ready: Ready,
    again: bool,
}

struct Pause {
    ready: Ready,
    until: Instant,
    length: Duration,
    /// It has been queued since and has not ended yet.
    over: bool,
}

/// Somebody who waits until one scan has been worked off.
struct Waiter {
    done: oneshot::Sender<()>,
    /// Files still to end; unknown before the scan.
    files: Option<HashSet<String>>,
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
            pauses: HashMap::new(),
            waiters: Vec::new(),
            starting: true,
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
                    Some(done) => self.waiters.push(Waiter { done, files: None }),
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
        self.queue_pauses_that_are_over(now);
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
            self.pauses.remove(&file);
            self.settling(&file);
        }
        if self.starting {
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
        // At the start all files are there before the first is loaded, so that
        // names are given in file name order.
        if self.loading.is_some() || (self.starting && self.book.is_settling()) {
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
                self.pauses.remove(&file);
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
            self.worked_off(&file);
        }
    }

    fn went_live(&mut self, file: &str) {
        self.pauses.remove(file);
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
                self.pauses.remove(&ready.file);
            }
            Again::WhenNamesChange => {
                self.blocked.insert(ready.file);
            }
            Again::Later => {
                let before = self.pauses.get(&ready.file).map(|pause| pause.length * 2);
                let length = before
                    .unwrap_or(self.options.retry_after)
                    .min(LONGEST_PAUSE);
                let pause = Pause {
                    until: now + length,
                    length,
                    over: false,
                    ready: ready.clone(),
                };
                self.pauses.insert(ready.file, pause);
            }
        }
    }

    fn queue_pauses_that_are_over(&mut self, now: Instant) {
        for (file, pause) in &mut self.pauses {
            if !pause.over && pause.until <= now {
                pause.over = true;
                let order = Order {
                    ready: pause.ready.clone(),
                    again: true,
                };
                self.queue.entry(file.clone()).or_insert(order);
            }
        }
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
        self.pauses.remove(file);
        self.worked_off(file);
    }

    /// The served names have changed: those that were refused for a name get
    /// another try.
    fn unblock(&mut self) {
        for file in std::mem::take(&mut self.blocked) {
            // A file that changed or went meanwhile comes by itself.
            let Some(seen) = self.book.seen(&file).cloned() else {
                continue;
            };
            for files in self.waiters.iter_mut().filter_map(|w| w.files.as_mut()) {
                files.insert(file.clone());
            }
            let ready = Ready {
                file: file.clone(),
                seen,
                restless: false,
            };
            self.queue
                .entry(file)
                .or_insert(Order { ready, again: true });
        }
    }

    fn worked_off(&mut self, file: &str) {
        for files in self.waiters.iter_mut().filter_map(|w| w.files.as_mut()) {
            files.remove(file);
        }
    }

    /// Tells those whose scan is worked off.
    fn answer(&mut self) {
        let unfinished = || {
            let loading = self.loading.iter().map(|ready| &ready.file);
            let open = self.book.unfinished().chain(self.queue.keys());
            open.chain(loading).cloned().collect::<HashSet<String>>()
        };
        for waiter in &mut self.waiters {
            waiter.files.get_or_insert_with(unfinished);
        }
        let is_done = |waiter: &mut Waiter| waiter.files.as_ref().is_some_and(HashSet::is_empty);
        for waiter in self.waiters.extract_if(.., is_done) {
            // The first one waits for the start. Nobody else can be before it.
            self.starting = false;
            // Whoever asked may have gone.
            let _ = waiter.done.send(());
        }
    }

    fn wake_at(&self, next_scan: Instant) -> Instant {
        let pauses = self.pauses.values().filter(|pause| !pause.over);
        pauses
            .map(|pause| pause.until)
            .chain(self.book.next(&self.options))
            .fold(next_scan, Instant::min)
    }
}
