//! Decides what serves: handles a file whose step has ended, and the files that wait for
//! its handler names or its place.

use tokio::time::Instant;

use super::Keeper;
use crate::plugin::load_request::Planned;
use crate::plugin::plugin_table::MAX_SERVING;
use crate::plugin::ready_file::ReadyFile;
use crate::plugin::registry::NewVersion;
use crate::plugin::rejected::{Refusal, RetryWhen};
use crate::plugin::status::PluginState;
use pgtq_task::Name;

impl Keeper {
    /// Rejects a file whose names are taken or which exceeds the limit; lets the others
    /// wait for their load.
    pub(super) fn plan(&mut self, planned: Planned) {
        let ready = &planned.order.ready;
        let (file, unsettled) = (ready.file.clone(), ready.unsettled);
        let digest = Some(planned.outline.digest);
        let names = &planned.outline.names;
        let refusal = if let Err(conflict) = self.registry.conflict(&file, names) {
            let again = RetryWhen::WhenFree(names.clone());
            Refusal::new(digest, conflict.to_string(), again)
        } else if self.exceeds_limit(&file) {
            let reason = format!(
                "{MAX_SERVING} plugins serve already, which is the maximum; remove one of them"
            );
            Refusal::new(digest, reason, RetryWhen::WhenFewer)
        } else {
            return self.schedule.plan(planned);
        };
        self.refuse(planned.order.ready, refusal);
        self.complete(&file, unsettled);
    }

    pub(super) fn plan_again(&mut self, held: Vec<Planned>) {
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
                let again = RetryWhen::WhenFree(names);
                self.refuse(ready, Refusal::new(digest, conflict.to_string(), again));
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        match self.registry.rename(from, to) {
            Some(freed) => {
                self.book.forget(from);
                self.forget(from);
                self.went_live(to, &freed);
            }
            None => self.book.settle_again(to, true, Instant::now()),
        }
    }

    pub(super) fn went_live(&mut self, file: &str, freed: &[Name]) {
        self.registry.snapshot().warn_of_refusals(file);
        self.pauses.forget(file);
        self.unblock(freed);
    }

    pub(super) fn refuse(&mut self, ready: ReadyFile, refusal: Refusal) {
        let now = Instant::now();
        if ready.unsettled {
            // Most likely half a file. It is judged once it has settled.
            self.settling(&ready.file);
            return self.book.settle_again(&ready.file, false, now);
        }
        let Refusal { digest, reason, .. } = refusal;
        self.registry
            .note(&ready.file, PluginState::Refused, digest, Some(reason));
        match refusal.again {
            RetryWhen::Never => {
                self.pauses.forget(&ready.file);
            }
            RetryWhen::WhenFree(names) => {
                self.blocked.insert(ready.file, names);
            }
            RetryWhen::WhenFewer => {
                self.too_many.insert(ready.file);
            }
            RetryWhen::Later => {
                let first = self.options.retry_after;
                self.pauses.begin(ready, first, now);
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
        let Some(seen) = self.book.seen(&file).cloned() else {
            // Missing; if it comes back, it is read again.
            return self.book.settle_again(&file, true, Instant::now());
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
