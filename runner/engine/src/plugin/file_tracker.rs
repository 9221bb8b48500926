//! Which files are still changing, which are ready to be read, and which are gone.
//!
//! Pure: the caller passes in scans and times; it touches no file. A file is ready once
//! its stamp has not changed for a while, or has kept changing for too long; it is gone
//! once scans have missed it for a while, so that a replacement by rename makes no gap.
//! That time is longer when an empty directory replaced the whole directory.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::time::Instant;

use super::options::DirectoryOptions;
use super::ready_file::ReadyFile;
use super::scan::{DirectoryListing, Seen};

/// A change that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileChange {
    /// A new file.
    Discovered(String),
    /// A known file with a different stamp.
    Changed(String),
}

/// Every tracked file.
#[derive(Debug, Default)]
pub(super) struct FileTracker {
    files: BTreeMap<String, TrackedFile>,
    /// The directory that the last scan read: device and inode.
    identity: Option<(u64, u64)>,
}

#[derive(Debug)]
struct TrackedFile {
    seen: Seen,
    still_since: Instant,
    /// Since when its newest stamp has been waiting to be read; none once it was read.
    unread_since: Option<Instant>,
    missing: Option<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    /// An empty directory replaced the whole directory, for example because its volume
    /// was unmounted. It may come back.
    with_directory: bool,
}

impl Missing {
    fn gone_at(&self, options: &DirectoryOptions) -> Instant {
        match self.with_directory {
            true => self.since + options.retire_after_swap,
            false => self.since + options.retire_after,
        }
    }
}

impl TrackedFile {
    fn is_settling(&self) -> bool {
        self.unread_since.is_some() && self.missing.is_none()
    }

    /// When it may be read if nothing changes until then.
    fn ready_at(&self, options: &DirectoryOptions) -> Option<Instant> {
        let unread = self.unread_since?;
        if self.missing.is_some() {
            return None;
        }
        let still = self.still_since + options.settle;
        Some(still.min(unread + options.settle_at_most))
    }
}

impl FileTracker {
    /// Records a scan.
    pub(super) fn observe(&mut self, listing: DirectoryListing, now: Instant) -> Vec<FileChange> {
        let mut changes = Vec::new();
        let is_another = self.identity.is_some_and(|last| last != listing.identity);
        self.identity = Some(listing.identity);
        if listing.complete {
            let missing = Missing {
                since: now,
                with_directory: is_another && listing.is_empty(),
            };
            for (file, entry) in &mut self.files {
                if !listing.files.contains_key(file) {
                    entry.missing.get_or_insert(missing);
                }
            }
        }
        for (file, seen) in listing.files {
            if let Some(entry) = self.files.get_mut(&file) {
                entry.missing = None;
                if entry.seen != seen {
                    entry.seen = seen;
                    entry.still_since = now;
                    entry.unread_since.get_or_insert(now);
                    changes.push(FileChange::Changed(file));
                }
            } else {
                let entry = TrackedFile {
                    seen,
                    still_since: now,
                    unread_since: Some(now),
                    missing: None,
                };
                self.files.insert(file.clone(), entry);
                changes.push(FileChange::Discovered(file));
            }
        }
        changes
    }

    /// Marks files that have not changed for long as settled: for the first scan of a
    /// process, whose start would otherwise be delayed. `now` and `today` are the same
    /// moment on two clocks.
    pub(super) fn trust_old_files(
        &mut self,
        options: &DirectoryOptions,
        now: Instant,
        today: SystemTime,
    ) {
        for entry in self.files.values_mut() {
            let old = match &entry.seen {
                Seen::File(stamp) => stamp.is_older_than(options.settle_at_most, today),
                Seen::NotAFile(_) => true,
            };
            if old && let Some(earlier) = now.checked_sub(options.settle) {
                entry.still_since = earlier;
            }
        }
    }

    /// The files that may be read now, in name order; each is returned once per change.
    pub(super) fn take_ready(
        &mut self,
        options: &DirectoryOptions,
        now: Instant,
    ) -> Vec<ReadyFile> {
        let mut ready = Vec::new();
        for (file, entry) in &mut self.files {
            if entry.ready_at(options).is_some_and(|at| at <= now) {
                entry.unread_since = None;
                ready.push(ReadyFile {
                    file: file.clone(),
                    seen: entry.seen.clone(),
                    unsettled: now < entry.still_since + options.settle,
                });
            }
        }
        ready
    }

    /// The files that have been missing for long enough; they are no longer tracked.
    pub(super) fn take_gone(&mut self, options: &DirectoryOptions, now: Instant) -> Vec<String> {
        let gone = |entry: &TrackedFile| {
            let missing = entry.missing.as_ref();
            missing.is_some_and(|missing| missing.gone_at(options) <= now)
        };
        let files: Vec<String> = self
            .files
            .iter()
            .filter(|(_, entry)| gone(entry))
            .map(|(file, _)| file.clone())
            .collect();
        for file in &files {
            self.files.remove(file);
        }
        files
    }

    /// The file changed while it was read: it must settle again. With `from_now` the time
    /// it has been unchanged so far does not count.
    pub(super) fn settle_again(&mut self, file: &str, from_now: bool, now: Instant) {
        if let Some(entry) = self.files.get_mut(file) {
            entry.unread_since.get_or_insert(now);
            if from_now {
                entry.still_since = now;
            }
        }
    }

    /// The file's stamp, unless it is missing.
    pub(super) fn seen(&self, file: &str) -> Option<&Seen> {
        let entry = self.files.get(file)?;
        entry.missing.is_none().then_some(&entry.seen)
    }

    /// Stops tracking a file.
    pub(super) fn forget(&mut self, file: &str) {
        self.files.remove(file);
    }

    /// Whether the file's newest stamp waits to be read.
    pub(super) fn is_unread(&self, file: &str) -> bool {
        let entry = self.files.get(file);
        entry.is_some_and(|entry| entry.unread_since.is_some())
    }

    /// Whether any existing file waits to be read.
    pub(super) fn is_settling(&self) -> bool {
        self.files.values().any(TrackedFile::is_settling)
    }

    /// Files that wait to be read or to be retired.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &String> {
        let open = |entry: &TrackedFile| entry.unread_since.is_some() || entry.missing.is_some();
        self.files
            .iter()
            .filter(move |(_, entry)| open(entry))
            .map(|(file, _)| file)
    }

    /// Files that the last scan missed.
    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.files
            .iter()
            .filter(|(_, entry)| entry.missing.is_some())
            .map(|(file, _)| file)
    }

    /// Whether files are missing because an empty directory replaced theirs.
    pub(super) fn is_directory_away(&self) -> bool {
        let away =
            |entry: &TrackedFile| entry.missing.is_some_and(|missing| missing.with_directory);
        self.files.values().any(away)
    }

    /// When a file will next be ready or gone, if nothing changes until then.
    pub(super) fn next(&self, options: &DirectoryOptions) -> Option<Instant> {
        let moments = self.files.values().filter_map(|entry| {
            let gone_at = entry.missing.map(|missing| missing.gone_at(options));
            gone_at.or_else(|| entry.ready_at(options))
        });
        moments.min()
    }
}

#[cfg(test)]
mod tests;
