//! Callers that wait until everything that one scan found is complete.

use std::collections::HashSet;

use tokio::sync::oneshot;

/// The callers, each with the unfinished files of its scan.
#[derive(Default)]
pub(super) struct Waiters(Vec<Waiter>);

struct Waiter {
    done: oneshot::Sender<()>,
    /// Unfinished files; unknown before the scan.
    files: Option<HashSet<String>>,
}

impl Waiters {
    /// Adds a caller; it waits for the files that the next scan finds.
    pub(super) fn add(&mut self, done: oneshot::Sender<()>) {
        self.0.push(Waiter { done, files: None });
    }

    /// A file is in progress again: all callers wait for it too.
    pub(super) fn wait_for(&mut self, file: &str) {
        for files in self.0.iter_mut().filter_map(|w| w.files.as_mut()) {
            files.insert(file.to_owned());
        }
    }

    /// A file is live, rejected or retired.
    pub(super) fn complete(&mut self, file: &str) {
        for files in self.0.iter_mut().filter_map(|w| w.files.as_mut()) {
            files.remove(file);
        }
    }

    /// Called after a scan: new callers wait for the `unfinished` files, and callers with
    /// nothing left to wait for are answered.
    pub(super) fn answer(&mut self, unfinished: impl Fn() -> HashSet<String>) {
        for waiter in &mut self.0 {
            waiter.files.get_or_insert_with(&unfinished);
        }
        let is_done = |waiter: &mut Waiter| waiter.files.as_ref().is_some_and(HashSet::is_empty);
        for waiter in self.0.extract_if(.., is_done) {
            // The caller may have gone away.
            let _ = waiter.done.send(());
        }
    }
}
