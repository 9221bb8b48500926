//! Those who wait until one scan has been worked off.

use std::collections::HashSet;

use tokio::sync::oneshot;

/// Everybody who waits, each for the files that its scan found unfinished.
#[derive(Default)]
pub(super) struct Waiters(Vec<Waiter>);

struct Waiter {
    done: oneshot::Sender<()>,
    /// Files still to end; unknown before the scan.
    files: Option<HashSet<String>>,
}

impl Waiters {
    /// Somebody asks; the next scan is the one that is waited for.
    pub(super) fn add(&mut self, done: oneshot::Sender<()>) {
        self.0.push(Waiter { done, files: None });
    }

    /// A file came up while others were worked off: all wait for it too.
    pub(super) fn wait_for(&mut self, file: &str) {
        for files in self.0.iter_mut().filter_map(|w| w.files.as_mut()) {
            files.insert(file.to_owned());
        }
    }

    /// A file has come to its end.
    pub(super) fn worked_off(&mut self, file: &str) {
        for files in self.0.iter_mut().filter_map(|w| w.files.as_mut()) {
            files.remove(file);
        }
    }

    /// Called after a scan: new waiters wait for the `unfinished` files, and
    /// those who wait for nothing any more are told.
    pub(super) fn answer(&mut self, unfinished: impl Fn() -> HashSet<String>) {
        for waiter in &mut self.0 {
            waiter.files.get_or_insert_with(&unfinished);
        }
        let is_done = |waiter: &mut Waiter| waiter.files.as_ref().is_some_and(HashSet::is_empty);
        for waiter in self.0.extract_if(.., is_done) {
            // Whoever asked may have gone.
            let _ = waiter.done.send(());
        }
    }
}
