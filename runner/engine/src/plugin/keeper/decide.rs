//! Decides what serves: handles a file whose step has ended, and the files that wait for
//! its handler names or its place.

use tokio::time::Instant;

use super::Keeper;
use crate::plugin::load_request::PlannedLoad;
use crate::plugin::plugin_table::MAX_SERVING;
use crate::plugin::ready_file::ReadyFile;
use crate::plugin::registry::NewVersion;
use crate::plugin::rejected::{PluginRejected, RetryWhen};
use crate::plugin::status::PluginState;
use pgtq_task::Name;

impl Keeper {
    /// Rejects a file whose names are taken or which exceeds the limit; lets the others
    /// wait for their load.
    pub(super) fn plan(&mut self, planned: PlannedLoad) {
        let ready = &planned.request.ready;
        let (file, unsettled) = (ready.file.clone(), ready.unsettled);
        let digest = Some(planned.inspected.digest);
        let names = &planned.inspected.names;
        let rejected = if let Err(conflict) = self.registry.conflict(&file, names) {
            let retry = RetryWhen::WhenFree(names.clone());
            PluginRejected::new(digest, conflict.to_string(), retry)
        } else if self.exceeds_limit(&file) {
            let reason = format!(
                "{MAX_SERVING} plugins serve already, which is the maximum; remove one of them"
            );
            PluginRejected::new(digest, reason, RetryWhen::WhenFewer)
        } else {
            return self.schedule.plan(planned);
        };
        self.reject(planned.request.ready, rejected);
        self.complete(&file, unsettled);
    }

    pub(super) fn plan_again(&mut self, held: Vec<PlannedLoad>) {
        for planned in held {
            self.plan(planned);
        }
    }

    pub(super) fn exceeds_limit(&self, file: &str) -> bool {
        let (serves, others) = self.registry.serving_files(file);
        !serves && others + self.schedule.n_planned() >= MAX_SERVING
    }

    pub(super) fn serve(&mut self, ready: ReadyFile, new: NewVersion) {
        let digest = new.digest;
        let names = new.handlers.iter().map(|handler| &handler.info().name);
        let names = names.cloned().collect();
        match self.registry.serve(&ready.file, new) {
            Ok(freed) => self.went_live(&ready.file, &freed),
            Err(conflict) => {
                let retry = RetryWhen::WhenFree(names);
                self.reject(
                    ready,
                    PluginRejected::new(digest, conflict.to_string(), retry),
                );
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        match self.registry.rename(from, to) {
            Some(freed) => {
                self.tracker.forget(from);
                self.forget(from);
                self.went_live(to, &freed);
            }
            None => self.tracker.settle_again(to, true, Instant::now()),
        }
    }

    pub(super) fn went_live(&mut self, file: &str, freed: &[Name]) {
        self.registry.snapshot().warn_of_missing_grants(file);
        self.retries.forget(file);
        self.unblock(freed);
    }

    pub(super) fn reject(&mut self, ready: ReadyFile, rejected: PluginRejected) {
        let now = Instant::now();
        if ready.unsettled {
            // Most likely half a file. It is judged once it has settled.
            self.settling(&ready.file);
            return self.tracker.settle_again(&ready.file, false, now);
        }
        let PluginRejected { digest, reason, .. } = rejected;
        self.registry
            .note(&ready.file, PluginState::Refused, digest, Some(reason));
        match rejected.retry {
            RetryWhen::Never => {
                self.retries.forget(&ready.file);
            }
            RetryWhen::WhenFree(names) => {
                self.blocked.insert(ready.file, names);
            }
            RetryWhen::WhenFewer => {
                self.too_many.insert(ready.file);
            }
            RetryWhen::Later => {
                let first = self.options.retry_after;
                self.retries.begin(ready, first, now);
            }
        }
    }

    /// No file serves these names any more: files that were rejected for one of them are
    /// tried again.
    pub(super) fn unblock(&mut self, freed: &[Name]) {
        let wants = |names: &[Name]| names.iter().any(|name| freed.contains(name));
        let waiting = self.blocked.extract_if(.., |_, names| wants(names));
        let waiting: Vec<String> = waiting.map(|(file, _)| file).collect();
        for file in waiting {
            self.read_again(file);
        }
    }

    /// When no other file is in progress and fewer plugins serve, one of the files beyond
    /// the limit is tried again.
    pub(super) fn retry_beyond_limit(&mut self) {
        let Some(file) = self.too_many.first().cloned() else {
            return;
        };
        if self.schedule.is_idle() && !self.exceeds_limit(&file) {
            self.too_many.remove(&file);
            self.read_again(file);
        }
    }

    /// Another try for a file that has not changed.
    pub(super) fn read_again(&mut self, file: String) {
        let Some(seen) = self.tracker.seen(&file).cloned() else {
            // Missing; if it comes back, it is read again.
            return self.tracker.settle_again(&file, true, Instant::now());
        };
        self.waiters.wait_for(&file);
        let unsettled = false;
        self.try_again(ReadyFile {
            file,
            seen,
            unsettled,
        });
    }
}
