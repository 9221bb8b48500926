//! The handlers loaded now: an immutable snapshot that is replaced as a whole.
//!
//! Owns the mapping from handler names to files, and the status of every plugin file.
//! Pure: no files, no wasmtime. Readers take the snapshot without waiting; every change
//! publishes a new one and increments the generation that watchers wait on.
//!
//! One file serves a handler name. The first file to serve it keeps it: a version that
//! contains a name of another file is rejected as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

use super::load::plugin_name;
use super::status::{PluginState, PluginStatus};
use super::version::{Draining, Serving, Version};
use pgtq_task::{Digest, Handler, Name, PluginInfo};

/// Handlers by name.
pub type HandlerMap = HashMap<Name, Arc<dyn Handler>>;

/// Maximum number of plugin files that serve at the same time.
pub(super) const MAX_SERVING: usize = 1_000;
/// Retired files that stay visible; the oldest are dropped first.
const MAX_RETIRED: usize = 100;
/// Files that neither serve nor are retired and stay visible. Of rejected files the
/// oldest are dropped first; the log has named each.
const MAX_NOT_SERVING: usize = 200;

/// The complete state at one moment. Immutable; hold it as long as needed.
pub struct Snapshot {
    /// Increases with every snapshot.
    pub generation: u64,
    /// The handlers that run tasks. The same `Arc` as in the previous snapshot if only a
    /// status changed: compare with [`Arc::ptr_eq`].
    pub handlers: Arc<HandlerMap>,
    /// The files, sorted by name: all that serve, and the newest 200 of the others.
    pub plugins: Vec<Arc<PluginStatus>>,
    /// Why the directory itself cannot be read now, for operators. Loaded plugins keep
    /// serving.
    pub trouble: Option<String>,
}

impl Snapshot {
    /// The status of one file, by its name in the directory.
    pub fn plugin(&self, file: &str) -> Option<&PluginStatus> {
        let status = self.plugins.iter().find(|status| status.file == file);
        status.map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("handlers", &self.handlers.keys())
            .field("plugins", &self.plugins)
            .field("trouble", &self.trouble)
            .finish()
    }
}

/// Two files have the same handler name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "handler `{handler}` is already served by {holder}; rename it in one of the two files, or remove {holder}"
)]
pub struct Conflict {
    /// The name.
    pub handler: Name,
    /// The file that serves it.
    pub holder: String,
}

/// A version that passed every check and may go live.
pub struct NewVersion {
    /// The sha256 of the file; none for native handlers.
    pub digest: Option<Digest>,
    /// Name and version that the plugin gives itself.
    pub plugin: Option<PluginInfo>,
    /// Its handlers, with unique names.
    pub handlers: Vec<Arc<dyn Handler>>,
}

/// The entry point for looking up handlers. A clone is another handle to the same
/// registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    current: ArcSwap<Snapshot>,
    generation: watch::Sender<u64>,
    /// The state that snapshots are built from; locked for the few microseconds of a
    /// change.
    plugins: Mutex<Plugins>,
}

#[derive(Default)]
struct Plugins {
    by_file: BTreeMap<String, Plugin>,
    trouble: Option<String>,
    /// Whether some known files are not shown.
    is_cut: bool,
}

struct Plugin {
    /// Shared with the snapshots that show it.
    status: Arc<PluginStatus>,
    serving: Option<Serving>,
    /// The last rejection that was logged as a warning: a repetition is logged at debug
    /// level.
    warned: Option<(Option<Digest>, String)>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

impl Registry {
    /// An empty registry, generation 0.
    pub fn new() -> Registry {
        Registry(Arc::new(Inner {
            current: ArcSwap::from_pointee(Snapshot {
                generation: 0,
                handlers: Arc::default(),
                plugins: Vec::new(),
                trouble: None,
            }),
            generation: watch::Sender::new(0),
            plugins: Mutex::default(),
        }))
    }

    /// The latest snapshot. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// The live handler with that name, if any. Never waits.
    pub fn handler(&self, name: &str) -> Option<Arc<dyn Handler>> {
        self.0.current.load().handlers.get(name).cloned()
    }

    /// The generation, to wait for changes: the snapshot is never older than the number
    /// read here.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Replaces what `file` served by `new`, in one swap, or changes nothing. Attempts in
    /// progress stay on their version. Returns the names that no file serves any more.
    pub fn serve(&self, file: &str, new: NewVersion) -> Result<Vec<Name>, Conflict> {
        let mut plugins = self.lock();
        let names = new.handlers.iter().map(|handler| &handler.info().name);
        plugins.conflict(file, names)?;
        let version = Version::new(file, new.digest);
        let serving = Serving::of(version, new.handlers);

        let plugin = plugins.plugin(file);
        let mut freed = plugin.stop_serving();
        freed.retain(|name| !serving.handlers.contains_key(name));
        let status = Arc::make_mut(&mut plugin.status);
        status.digest = new.digest;
        status.serving = new.digest;
        status.plugin = new.plugin;
        status.handlers = serving.handlers.keys().cloned().collect();
        plugin.serving = Some(serving);
        plugin.enter(PluginState::Live, None);
        self.publish(&mut plugins, true);
        Ok(freed)
    }

    /// Takes `file` out of service. Its attempts in progress finish on it. Returns the
    /// names that no file serves any more.
    pub fn retire(&self, file: &str) -> Vec<Name> {
        let mut plugins = self.lock();
        let Some(plugin) = plugins.by_file.get_mut(file) else {
            return Vec::new();
        };
        let served = plugin.serving.is_some();
        let freed = plugin.stop_serving();
        plugin.enter(PluginState::Retired, None);
        if !served && plugin.status.draining.is_empty() {
            // It never served: there is nothing to show.
            plugins.by_file.remove(file);
        }
        plugins.forget_oldest_retired();
        self.publish(&mut plugins, served);
        freed
    }

    /// Whether a version of `file` with these handlers would be rejected.
    pub(super) fn conflict<'a>(
        &self,
        file: &str,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<(), Conflict> {
        self.lock().conflict(file, names)
    }

    /// What `file` serves now.
    pub(super) fn serving(&self, file: &str) -> Option<Digest> {
        let plugins = self.lock();
        plugins.by_file.get(file)?.status.serving
    }

    /// Whether `file` serves, and how many other files do.
    pub(super) fn serving_files(&self, file: &str) -> (bool, usize) {
        let plugins = self.lock();
        let serves = |plugin: &Plugin| plugin.serving.is_some();
        let all = plugins
            .by_file
            .values()
            .filter(|plugin| serves(plugin))
            .count();
        match plugins.by_file.get(file).is_some_and(serves) {
            true => (true, all - 1),
            false => (false, all),
        }
    }

    /// A file was renamed with its bytes unchanged: what `from` serves moves to `to`, in
    /// one swap, replacing what `to` served before. New attempts have the grants of the
    /// new name. Returns the names that no file serves any more; `None` if `from` serves
    /// nothing.
    pub(super) fn rename(&self, from: &str, to: &str) -> Option<Vec<Name>> {
        let mut plugins = self.lock();
        plugins.by_file.get(from)?.serving.as_ref()?;
        let mut moved = plugins.by_file.remove(from)?;
        if let Some(serving) = &mut moved.serving {
            serving.rename(plugin_name(to));
        }
        let mut freed = Vec::new();
        let status = Arc::make_mut(&mut moved.status);
        if let Some(mut replaced) = plugins.by_file.remove(to) {
            freed = replaced.stop_serving();
            freed.retain(|name| !status.handlers.contains(name));
            let replaced = Arc::make_mut(&mut replaced.status);
            status.draining.append(&mut replaced.draining);
        }
        tracing::info!(file = to, from, "plugin file has a new name");
        status.file = to.to_owned();
        status.digest = status.serving;
        moved.enter(PluginState::Live, None);
        plugins.by_file.insert(to.to_owned(), moved);
        self.publish(&mut plugins, true);
        Some(freed)
    }

    /// Shows the next state of a file, unless it was retired or dropped meanwhile.
    pub(super) fn advance(&self, file: &str, state: PluginState, digest: Digest) {
        let mut plugins = self.lock();
        let Some(plugin) = plugins.by_file.get_mut(file) else {
            return;
        };
        if plugin.status.state == PluginState::Retired {
            return;
        }
        Arc::make_mut(&mut plugin.status).digest = Some(digest);
        plugin.enter(state, None);
        self.publish(&mut plugins, false);
    }

    /// Shows the state of `file`. `digest`: the bytes that it is about, if known.
    pub(super) fn note(
        &self,
        file: &str,
        state: PluginState,
        digest: Option<Digest>,
        reason: Option<String>,
    ) {
        let mut plugins = self.lock();
        let is_new = !plugins.by_file.contains_key(file);
        if is_new && !plugins.make_room(state) {
            return;
        }
        let plugin = plugins.plugin(file);
        let status = &plugin.status;
        let same_digest = digest.is_none() || digest == status.digest;
        if !is_new && status.state == state && status.reason == reason && same_digest {
            return;
        }
        if digest.is_some() || state == PluginState::Refused {
            Arc::make_mut(&mut plugin.status).digest = digest;
        }
        plugin.enter(state, reason);
        self.publish(&mut plugins, false);
    }

    /// Shows why the directory cannot be read, or that it can be read again.
    pub(super) fn note_trouble(&self, trouble: Option<String>) {
        let mut plugins = self.lock();
        if plugins.trouble != trouble {
            plugins.trouble = trouble;
            self.publish(&mut plugins, false);
        }
    }

    /// Whether some rejected files are not shown.
    pub(super) fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    /// Removes versions from the snapshot that have drained since the last one.
    pub(super) fn refresh(&self) {
        let mut plugins = self.lock();
        let drained = |plugin: &Plugin| plugin.status.draining.iter().any(Draining::is_over);
        if plugins.by_file.values().any(drained) {
            self.publish(&mut plugins, false);
        }
    }

    fn publish(&self, plugins: &mut Plugins, handlers_changed: bool) {
        for plugin in plugins.by_file.values_mut() {
            if plugin.status.draining.iter().any(Draining::is_over) {
                let status = Arc::make_mut(&mut plugin.status);
                status.draining.retain(|version| !version.is_over());
            }
        }
        let old = self.0.current.load();
        let handlers = match handlers_changed {
            true => Arc::new(plugins.handlers()),
            false => Arc::clone(&old.handlers),
        };
        let generation = old.generation + 1;
        self.0.current.store(Arc::new(Snapshot {
            generation,
            handlers,
            plugins: plugins
                .by_file
                .values()
                .map(|p| Arc::clone(&p.status))
                .collect(),
            trouble: plugins.trouble.clone(),
        }));
        // After the snapshot, so that a woken watcher finds it.
        self.0.generation.send_replace(generation);
    }

    fn lock(&self) -> MutexGuard<'_, Plugins> {
        self.0
            .plugins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugins {
    fn plugin(&mut self, file: &str) -> &mut Plugin {
        self.by_file
            .entry(file.to_owned())
            .or_insert_with(|| Plugin::discovered(file))
    }

    fn conflict<'a>(
        &self,
        file: &str,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<(), Conflict> {
        for name in names {
            let holds = |plugin: &&Plugin| {
                let serving = plugin.serving.as_ref();
                serving.is_some_and(|serving| serving.handlers.contains_key(name))
            };
            let mut others = self.by_file.values().filter(|p| p.status.file != file);
            if let Some(holder) = others.find(holds) {
                return Err(Conflict {
                    handler: name.clone(),
                    holder: holder.status.file.clone(),
                });
            }
        }
        Ok(())
    }

    fn handlers(&self) -> HandlerMap {
        let serving = self.by_file.values().filter_map(|p| p.serving.as_ref());
        let handlers = serving.flat_map(|serving| &serving.handlers);
        handlers
            .map(|(name, handler)| (name.clone(), Arc::clone(handler)))
            .collect()
    }

    fn forget_oldest_retired(&mut self) {
        let retired = |p: &&Plugin| p.status.state == PluginState::Retired;
        if self.by_file.values().filter(retired).count() > MAX_RETIRED {
            self.forget_oldest(PluginState::Retired);
        }
    }

    /// Makes room for a file that is new in this state; false if it is not shown.
    fn make_room(&mut self, state: PluginState) -> bool {
        let counts = |p: &&Plugin| p.serving.is_none() && p.status.state != PluginState::Retired;
        if self.by_file.values().filter(counts).count() < MAX_NOT_SERVING {
            return true;
        }
        self.is_cut = true;
        // Files that merely wait must not displace rejections and their reasons.
        let waits = matches!(state, PluginState::Discovered | PluginState::Settling);
        !waits && self.forget_oldest(PluginState::Refused)
    }

    /// False if no file in this state can be dropped, because all of them serve.
    fn forget_oldest(&mut self, state: PluginState) -> bool {
        let all = self.by_file.values();
        let all = all.filter(|p| p.status.state == state && p.serving.is_none());
        let oldest = all.min_by_key(|plugin| plugin.status.since);
        match oldest.map(|plugin| plugin.status.file.clone()) {
            Some(file) => self.by_file.remove(&file).is_some(),
            None => false,
        }
    }
}

impl Plugin {
    fn discovered(file: &str) -> Plugin {
        Plugin {
            status: Arc::new(PluginStatus {
                file: file.to_owned(),
                state: PluginState::Discovered,
                digest: None,
                reason: None,
                since: Timestamp::now(),
                serving: None,
                plugin: None,
                handlers: Vec::new(),
                draining: Vec::new(),
            }),
            serving: None,
            warned: None,
        }
    }

    fn enter(&mut self, state: PluginState, reason: Option<String>) {
        let status = Arc::make_mut(&mut self.status);
        if status.state != state {
            status.since = Timestamp::now();
        }
        status.state = state;
        status.reason = reason;
        self.log();
    }

    fn log(&mut self) {
        let status = &self.status;
        let (file, state) = (status.file.as_str(), status.state);
        let digest = status.digest.map(|digest| digest.short());
        let Some(reason) = &status.reason else {
            return tracing::info!(file, digest, "plugin {file}: {state}");
        };
        let refusal = (status.digest, reason.clone());
        if self.warned.as_ref() == Some(&refusal) {
            return tracing::debug!(file, digest, "plugin {file}: {state} again: {reason}");
        }
        let kept = match status.serving {
            Some(serving) => format!(", version {} keeps serving", serving.short()),
            None => String::new(),
        };
        tracing::warn!(file, digest, "plugin {file}: {state}{kept}: {reason}");
        self.warned = Some(refusal);
    }

    /// Returns the names that it served.
    fn stop_serving(&mut self) -> Vec<Name> {
        let status = Arc::make_mut(&mut self.status);
        if let Some(old) = self.serving.take() {
            status.draining.push(Draining::new(&old.version));
        }
        status.serving = None;
        std::mem::take(&mut status.handlers)
    }
}

#[cfg(test)]
mod tests;
