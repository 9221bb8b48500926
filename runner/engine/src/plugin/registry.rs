//! The handlers loaded now: an immutable snapshot that is replaced as a whole.
//!
//! Owns the mapping from handler names to files, and the status of every plugin file.
//! Pure: no files, no wasmtime. Readers take the snapshot without waiting; every change
//! publishes a new one and increments the generation that watchers wait on.
//!
//! One file serves a handler name. The first file to serve it keeps it: a version that
//! contains a name of another file is rejected as a whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::file_name::plugin_name;
use super::plugin_table::{Conflict, PluginEntry, PluginTable};
use super::snapshot::Snapshot;
use super::status::PluginState;
use super::version::{Draining, Serving, Version};
use pgtq_task::{Digest, Handler, Name, PluginInfo};

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
pub struct Registry(Arc<RegistryState>);

struct RegistryState {
    current: ArcSwap<Snapshot>,
    generation: watch::Sender<u64>,
    /// The state that snapshots are built from; locked for the few microseconds of a
    /// change.
    plugins: Mutex<PluginTable>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

impl Registry {
    /// An empty registry, generation 0.
    pub fn new() -> Registry {
        Registry(Arc::new(RegistryState {
            current: ArcSwap::from_pointee(Snapshot {
                generation: 0,
                handlers: Arc::default(),
                plugins: Vec::new(),
                directory_problem: None,
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
        let serves = |plugin: &PluginEntry| plugin.serving.is_some();
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
    pub(super) fn note_problem(&self, problem: Option<String>) {
        let mut plugins = self.lock();
        if plugins.problem != problem {
            plugins.problem = problem;
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
        let drained = |plugin: &PluginEntry| plugin.status.draining.iter().any(Draining::is_over);
        if plugins.by_file.values().any(drained) {
            self.publish(&mut plugins, false);
        }
    }

    fn publish(&self, plugins: &mut PluginTable, handlers_changed: bool) {
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
            directory_problem: plugins.problem.clone(),
        }));
        // After the snapshot, so that a woken watcher finds it.
        self.0.generation.send_replace(generation);
    }

    fn lock(&self) -> MutexGuard<'_, PluginTable> {
        self.0
            .plugins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
