//! All known plugin files: what each serves, and which of them are shown.
//!
//! Pure: the registry locks it and publishes a snapshot after each change.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::snapshot::HandlerMap;
use super::status::{PluginState, PluginStatus};
use super::version::{Draining, Serving};
use pgtq_task::{Digest, Name};

/// Maximum number of plugin files that serve at the same time.
pub(super) const MAX_SERVING: usize = 1_000;
/// Retired files that stay visible; the oldest are dropped first.
pub(super) const MAX_RETIRED: usize = 100;
/// Files that neither serve nor are retired and stay visible. Of rejected files the
/// oldest are dropped first; the log has named each.
const MAX_NOT_SERVING: usize = 200;

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

#[derive(Default)]
pub(super) struct PluginTable {
    pub(super) by_file: BTreeMap<String, PluginEntry>,
    pub(super) problem: Option<String>,
    /// Whether some known files are not shown.
    pub(super) is_cut: bool,
}

pub(super) struct PluginEntry {
    /// Shared with the snapshots that show it.
    pub(super) status: Arc<PluginStatus>,
    pub(super) serving: Option<Serving>,
    /// The last rejection that was logged as a warning: a repetition is logged at debug
    /// level.
    warned: Option<(Option<Digest>, String)>,
}

impl PluginTable {
    pub(super) fn plugin(&mut self, file: &str) -> &mut PluginEntry {
        self.by_file
            .entry(file.to_owned())
            .or_insert_with(|| PluginEntry::discovered(file))
    }

    pub(super) fn conflict<'a>(
        &self,
        file: &str,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<(), Conflict> {
        for name in names {
            let holds = |plugin: &&PluginEntry| {
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

    pub(super) fn handlers(&self) -> HandlerMap {
        let serving = self.by_file.values().filter_map(|p| p.serving.as_ref());
        let handlers = serving.flat_map(|serving| &serving.handlers);
        handlers
            .map(|(name, handler)| (name.clone(), Arc::clone(handler)))
            .collect()
    }

    pub(super) fn forget_oldest_retired(&mut self) {
        let retired = |p: &&PluginEntry| p.status.state == PluginState::Retired;
        if self.by_file.values().filter(retired).count() > MAX_RETIRED {
            self.forget_oldest(PluginState::Retired);
        }
    }

    /// Makes room for a file that is new in this state; false if it is not shown.
    pub(super) fn make_room(&mut self, state: PluginState) -> bool {
        let counts =
            |p: &&PluginEntry| p.serving.is_none() && p.status.state != PluginState::Retired;
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

impl PluginEntry {
    fn discovered(file: &str) -> PluginEntry {
        PluginEntry {
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

    pub(super) fn enter(&mut self, state: PluginState, reason: Option<String>) {
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
        let rejection = (status.digest, reason.clone());
        if self.warned.as_ref() == Some(&rejection) {
            return tracing::debug!(file, digest, "plugin {file}: {state} again: {reason}");
        }
        let kept = match status.serving {
            Some(serving) => format!(", version {} stays in service", serving.short()),
            None => String::new(),
        };
        tracing::warn!(file, digest, "plugin {file}: {state}{kept}: {reason}");
        self.warned = Some(rejection);
    }

    /// Returns the names that it served.
    pub(super) fn stop_serving(&mut self) -> Vec<Name> {
        let status = Arc::make_mut(&mut self.status);
        if let Some(old) = self.serving.take() {
            status.draining.push(Draining::new(&old.version));
        }
        status.serving = None;
        std::mem::take(&mut status.handlers)
    }
}
