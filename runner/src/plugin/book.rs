//! Which file is still changing, which is ready to be read, which is gone.
//!
//! Pure: is told what scans saw and what time it is, touches no file. A file
//! is ready once its stamp has stood still for a while, or has not stood still
//! for too long; it is gone once scans have missed it for a while, so that a
//! replacement by rename makes no gap.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::time::Instant;

use super::directory::DirectoryOptions;
use super::scan::{Listing, Seen};

/// Files that are followed at most. What comes above is ignored and counted.
pub(super) const MAX_FILES: usize = 1_000;

/// What a scan has shown to be new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
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
    pub(super) restless: bool,
}

/// Every file that is followed.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: BTreeMap<String, Page>,
    /// Files above [`MAX_FILES`] in the last scan.
    pub(super) ignored: usize,
}

#[derive(Debug)]
struct Page {
    seen: Seen,
    still_since: Instant,
    /// Since when its newest stamp waits to be read; none once it was.
    unread_since: Option<Instant>,
    missing_since: Option<Instant>,
}

impl Page {
    fn is_settling(&self) -> bool {
        self.unread_since.is_some() && self.missing_since.is_none()
    }

    /// When it may be read, if nothing changes until then.
    fn ready_at(&self, options: &DirectoryOptions) -> Option<Instant> {
        let unread = self.unread_since?;
        if self.missing_since.is_some() {
            return None;
        }
        let still = self.still_since + options.settle;
        Some(still.min(unread + options.settle_at_most))
    }
}

impl Book {
    /// Takes note of a scan.
    pub(super) fn observe(&mut self, listing: Listing, now: Instant) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        self.ignored = 0;
        if listing.complete {
            for (file, page) in &mut self.pages {
                if !listing.files.contains_key(file) {
                    page.missing_since.get_or_insert(now);
                }
            }
        }
        for (file, seen) in listing.files {
            if let Some(page) = self.pages.get_mut(&file) {
                page.missing_since = None;
                if page.seen != seen {
                    page.seen = seen;
                    page.still_since = now;
                    page.unread_since.get_or_insert(now);
                    sightings.push(Sighting::Changed(file));
                }
            } else if self.pages.len() < MAX_FILES {
                let page = Page {
                    seen,
                    still_since: now,
                    unread_since: Some(now),
                    missing_since: None,
                };
                self.pages.insert(file.clone(), page);
                sightings.push(Sighting::Discovered(file));
            } else {
                self.ignored += 1;
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
        for page in self.pages.values_mut() {
            let old = match &page.seen {
                Seen::File(stamp) => stamp.is_older_than(options.settle_at_most, today),
                Seen::Odd(_) => true,
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
        for (file, page) in &mut self.pages {
            if page.ready_at(options).is_some_and(|at| at <= now) {
                page.unread_since = None;
                ready.push(Ready {
                    file: file.clone(),
                    seen: page.seen.clone(),
                    restless: now < page.still_since + options.settle,
                });
            }
        }
        ready
    }

    /// The files that have been missing for long enough, which are forgotten.
    pub(super) fn take_gone(&mut self, options: &DirectoryOptions, now: Instant) -> Vec<String> {
        let gone = |page: &Page| {
            page.missing_since
                .is_some_and(|since| since + options.retire_after <= now)
        };
        let files: Vec<String> = self
            .pages
            .iter()
            .filter(|(_, page)| gone(page))
            .map(|(file, _)| file.clone())
            .collect();
        for file in &files {
            self.pages.remove(file);
        }
        files
    }

    /// What was read was not the file at rest: settle again. With `anew` the
    /// stillness that was seen so far does not count.
    pub(super) fn settle_again(&mut self, file: &str, anew: bool, now: Instant) {
        if let Some(page) = self.pages.get_mut(file) {
            page.unread_since.get_or_insert(now);
            if anew {
                page.still_since = now;
            }
        }
    }

    /// The file's stamp, unless it is missing.
    pub(super) fn seen(&self, file: &str) -> Option<&Seen> {
        let page = self.pages.get(file)?;
        page.missing_since.is_none().then_some(&page.seen)
    }

    /// Stops following a file, as if it had never been.
    pub(super) fn forget(&mut self, file: &str) {
        self.pages.remove(file);
    }

    /// Whether the file's newest stamp waits to be read.
    pub(super) fn is_unread(&self, file: &str) -> bool {
        let page = self.pages.get(file);
        page.is_some_and(|page| page.unread_since.is_some())
    }

    /// Whether some file is there and waits to be read.
    pub(super) fn is_settling(&self) -> bool {
        self.pages.values().any(Page::is_settling)
    }

    /// Files that wait to be read or to be forgotten.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &String> {
        let open = |page: &Page| page.unread_since.is_some() || page.missing_since.is_some();
        self.pages
            .iter()
            .filter(move |(_, page)| open(page))
            .map(|(file, _)| file)
    }

    /// Files that the last scan missed.
    pub(super) fn missing(&self) -> impl Iterator<Item = &String> {
        self.pages
            .iter()
            .filter(|(_, page)| page.missing_since.is_some())
            .map(|(file, _)| file)
    }

    /// When something will be ready or gone, if nothing changes until then.
    pub(super) fn next(&self, options: &DirectoryOptions) -> Option<Instant> {
        let moments = self.pages.values().filter_map(|page| {
            let gone_at = page.missing_since.map(|since| since + options.retire_after);
            gone_at.or_else(|| page.ready_at(options))
        });
        moments.min()
    }
}

#[cfg(test)]
mod tests;
