//! Which file is still changing, which is ready to be read, which is gone.
//!
//! Pure: is told what scans saw and what time it is, touches no file. A file
//! is ready once its stamp has stood still for a while, or has not stood still
//! for too long; it is gone once scans have missed it for a while, so that a
//! replacement by rename makes no gap. That while is longer when the whole directory
//! was replaced by an empty one.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::time::Instant;

use super::directory::DirectoryOptions;
use super::scan::{Listing, Seen};

/// What a scan has shown to be new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A file that was not there before.
    Discovered(String),
    /// A known file with another stamp.
    Changed(String),
}

/// A file whose bytes may be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) file: String,
    pub(super) seen: Seen,
    /// It was still changing; the patience was over.
    pub(super) unsettled: bool,
}

/// Every file that is followed.
#[derive(Debug, Default)]
pub(super) struct FileTracker {
    entries: BTreeMap<String, Entry>,
    /// Which directory the last scan read: device and inode.
    identity: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Entry {
    seen: Seen,
    still_since: Instant,
    /// Since when its newest stamp waits to be read; none once it was.
    unread_since: Option<Instant>,
    missing: Option<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    /// The whole directory was replaced by an empty one, for example because its
    /// volume was unmounted. It may come back.
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

impl Entry {
    fn is_settling(&self) -> bool {
        self.unread_since.is_some() && self.missing.is_none()
    }

    /// When it may be read, if nothing changes until then.
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
    /// Takes note of a scan.
    pub(super) fn observe(&mut self, listing: Listing, now: Instant) -> Vec<Change> {
        let mut sightings = Vec::new();
        let is_another = self.identity.is_some_and(|last| last != listing.identity);
        self.identity = Some(listing.identity);
        if listing.complete {
            let missing = Missing {
                since: now,
                with_directory: is_another && listing.is_empty(),
            };
            for (file, page) in &mut self.entries {
                if !listing.files.contains_key(file) {
                    page.missing.get_or_insert(missing);
                }
            }
        }
        for (file, seen) in listing.files {
            if let Some(page) = self.entries.get_mut(&file) {
                page.missing = None;
                if page.seen != seen {
                    page.seen = seen;
                    page.still_since = now;
                    page.unread_since.get_or_insert(now);
                    sightings.push(Change::Changed(file));
                }
            } else {
                let page = Entry {
                    seen,
                    still_since: now,
                    unread_since: Some(now),
                    missing: None,
                };
                self.entries.insert(file.clone(), page);
                sightings.push(Change::Discovered(file));
            }
        }
        sightings
    }

    /// Files that have not changed for long need no settling: for the first
    /// scan of a process, which would otherwise start slower than it must.
    /// `now` and `today` are the same moment on two clocks.
    pub(super) fn trust_old_files(
        &mut self,
        options: &DirectoryOptions,
        now: Instant,
        today: SystemTime,
    ) {
        for page in self.entries.values_mut() {
            let old = match &page.seen {
                Seen::File(stamp) => stamp.is_older_than(options.settle_at_most, today),
                Seen::NotAFile(_) => true,
            };
            if old && let Some(earlier) = now.checked_sub(options.settle) {
                page.still_since = earlier;
            }
        }
    }

    /// The files that may be read now, in name order; each is given out once
    /// for each change.
    pub(super) fn take_ready(&mut self, options: &DirectoryOptions, now: Instant) -> Vec<Ready> {
        let mut ready = Vec::new();
        for (file, page) in &mut self.entries {
            if page.ready_at(options).is_some_and(|at| at <= now) {
                page.unread_since = None;
                ready.push(Ready {
                    file: file.clone(),
                    seen: page.seen.clone(),
                    unsettled: now < page.still_since + options.settle,
                });
            }
        }
        ready
    }

    /// The files that have been missing for long enough, which are forgotten.
    pub(super) fn take_gone(&mut self, options: &DirectoryOptions, now: Instant) -> Vec<String> {
        let gone = |page: &Entry| {
            let missing = page.missing.as_ref();
            missing.is_some_and(|missing| missing.gone_at(options) <= now)
        };
        let files: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, page)| gone(page))
            .map(|(file, _)| file.clone())
            .collect();
        for file in &files {
            self.entries.remove(file);
        }
        files
    }

    /// What was read was not the file at rest: settle again. With `from_now` the
    /// stillness that was seen so far does not count.
    pub(super) fn settle_again(&mut self, file: &str, from_now: bool, now: Instant) {
        if let Some(page) = self.entries.get_mut(file) {
            page.unread_since.get_or_insert(now);
            if from_now {
                page.still_since = now;
            }
        }
    }

    /// The file's stamp, unless it is missing.
    pub(super) fn seen(&self, file: &str) -> Option<&Seen> {
        let page = self.entries.get(file)?;
        page.missing.is_none().then_some(&page.seen)
    }

    /// Stops following a file, as if it had never been.
    pub(super) fn forget(&mut self, file: &str) {
        self.entries.remove(file);
    }

    /// Whether the file's newest stamp waits to be read.
    pub(super) fn is_unread(&self, file: &str) -> bool {
        let page = self.entries.get(file);
        page.is_some_and(|page| page.unread_since.is_some())
    }

    /// Whether some file is there and waits to be read.
    pub(super) fn is_settling(&self) -> bool {
        self.entries.values().any(Entry::is_settling)
    }

    /// Files that wait to be read or to be forgotten.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &String> {
        let open = |page: &Entry| page.unread_since.is_some() || page.missing.is_some();
        self.entries
            .iter()
            .filter(move |(_, page)| open(page))
            .map(|(file, _)| file)
    }

    /// Files that the last scan missed.
    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.entries
            .iter()
            .filter(|(_, page)| page.missing.is_some())
            .map(|(file, _)| file)
    }

    /// Whether files are missing because the directory was replaced by an empty one.
    pub(super) fn is_directory_away(&self) -> bool {
        let away = |page: &Entry| page.missing.is_some_and(|missing| missing.with_directory);
        self.entries.values().any(away)
    }

    /// When something will be ready or gone, if nothing changes until then.
    pub(super) fn next(&self, options: &DirectoryOptions) -> Option<Instant> {
        let moments = self.entries.values().filter_map(|page| {
            let gone_at = page.missing.map(|missing| missing.gone_at(options));
            gone_at.or_else(|| page.ready_at(options))
        });
        moments.min()
    }
}

#[cfg(test)]
mod tests;
