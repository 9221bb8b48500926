use std::time::Duration;

use super::*;
use crate::plugin::scan::Stamp;

/// A file tracker with a clock of its own, in milliseconds, and the default options:
/// settle 200 ms, at most 2 s, retire after 1 s.
struct TrackerFixture {
    tracker: FileTracker,
    begin: Instant,
    options: DirectoryOptions,
}

impl TrackerFixture {
    fn new() -> TrackerFixture {
        TrackerFixture {
            tracker: FileTracker::default(),
            begin: Instant::now() + Duration::from_secs(1),
            options: DirectoryOptions::default(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.begin + Duration::from_millis(ms)
    }

    /// A scan at `ms` that saw these files with these stamps.
    fn scan(&mut self, ms: u64, files: &[(&str, i64)]) -> Vec<FileChange> {
        self.scan_in(1, ms, files)
    }

    /// The same in the directory with this inode.
    fn scan_in(&mut self, inode: u64, ms: u64, files: &[(&str, i64)]) -> Vec<FileChange> {
        let file = |(name, n): &(&str, i64)| (name.to_string(), Seen::File(Stamp::nth(*n)));
        let listing = DirectoryListing {
            files: files.iter().map(file).collect(),
            identity: (1, inode),
            complete: true,
        };
        self.tracker.observe(listing, self.at(ms))
    }

    fn ready(&mut self, ms: u64) -> Vec<String> {
        let now = self.at(ms);
        let ready = self.tracker.take_ready(&self.options, now);
        ready.into_iter().map(|ready| ready.file).collect()
    }

    fn gone(&mut self, ms: u64) -> Vec<String> {
        let now = self.at(ms);
        self.tracker.take_gone(&self.options, now)
    }
}

#[test]
fn a_file_is_ready_once_after_it_settled() {
    let mut story = TrackerFixture::new();
    assert_eq!(
        story.scan(0, &[("a", 1)]),
        [FileChange::Discovered("a".into())]
    );
    assert_eq!(story.ready(199), [""; 0]);
    assert_eq!(story.tracker.next(&story.options), Some(story.at(200)));
    story.scan(200, &[("a", 1)]);
    assert_eq!(story.ready(200), ["a"]);
    story.scan(5_000, &[("a", 1)]);
    assert_eq!(story.ready(5_000), [""; 0]);
    assert_eq!(story.tracker.next(&story.options), None);
}

#[test]
fn a_change_starts_the_settling_again() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("a", 1)]);
    assert_eq!(
        story.scan(150, &[("a", 2)]),
        [FileChange::Changed("a".into())]
    );
    assert_eq!(story.ready(349), [""; 0]);
    assert_eq!(story.ready(350), ["a"]);
}

#[test]
fn a_file_that_never_settles_is_tried_every_two_seconds() {
    let mut story = TrackerFixture::new();
    let mut tried = Vec::new();
    for n in 0..60 {
        let ms = n * 100;
        story.scan(ms, &[("a", n as i64)]);
        if !story.ready(ms).is_empty() {
            tried.push(ms);
        }
    }
    assert_eq!(tried, [2_000, 4_100]);
}

#[test]
fn a_rejected_unsettled_file_is_retried_once_it_settles() {
    let mut story = TrackerFixture::new();
    for n in 0..=20 {
        story.scan(n * 100, &[("a", n as i64)]);
    }
    let now = story.at(2_000);
    let ready = story.tracker.take_ready(&story.options, now);
    assert!(ready[0].unsettled);
    story.tracker.settle_again("a", false, story.at(2_050));
    story.scan(2_200, &[("a", 20)]);
    assert_eq!(story.ready(2_200), ["a"]);
}

#[test]
fn a_briefly_missing_file_is_not_gone() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("a", 1)]);
    story.ready(200);
    story.scan(300, &[]);
    assert_eq!(story.gone(1_299), [""; 0]);
    assert_eq!(story.tracker.missing().collect::<Vec<_>>(), ["a"]);
    story.scan(1_299, &[("a", 2)]);
    assert_eq!(story.gone(9_000), [""; 0]);
    assert_eq!(story.ready(1_499), ["a"]);
}

#[test]
fn a_file_that_stays_away_is_gone_once() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("a", 1)]);
    story.scan(300, &[]);
    assert_eq!(story.tracker.next(&story.options), Some(story.at(1_300)));
    assert_eq!(story.ready(1_000), [""; 0]);
    assert_eq!(story.gone(1_300), ["a"]);
    assert_eq!(story.gone(1_301), [""; 0]);
    assert_eq!(
        story.scan(1_400, &[("a", 1)]),
        [FileChange::Discovered("a".into())]
    );
}

#[test]
fn an_incomplete_scan_makes_no_file_gone() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("a", 1)]);
    let listing = DirectoryListing {
        files: BTreeMap::new(),
        identity: (1, 1),
        complete: false,
    };
    story.tracker.observe(listing, story.at(300));
    assert_eq!(story.gone(60_000), [""; 0]);
}

#[test]
fn a_directory_replaced_by_an_empty_one_keeps_its_files_for_thirty_seconds() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("a", 1), ("b", 1)]);
    story.ready(200);
    story.scan_in(2, 300, &[]);
    assert!(story.tracker.is_directory_away());
    assert_eq!(story.gone(30_299), [""; 0]);
    // One of them comes back: the other keeps its own deadline.
    story.scan_in(3, 20_000, &[("a", 1)]);
    assert_eq!(story.gone(30_299), [""; 0]);
    assert_eq!(story.gone(30_300), ["b"]);
    assert!(!story.tracker.is_directory_away());
    // Empty files and directories are not plugins.
    let mut empty = Stamp::nth(1);
    empty.size = 0;
    let listing = DirectoryListing {
        files: [
            ("placeholder".to_owned(), Seen::File(empty)),
            (
                "lost".to_owned(),
                Seen::NotAFile("it is a directory".into()),
            ),
        ]
        .into(),
        identity: (1, 4),
        complete: true,
    };
    story.tracker.observe(listing, story.at(40_000));
    assert_eq!(story.gone(69_999), [""; 0]);
    assert_eq!(story.gone(70_000), ["a"]);
}

#[test]
fn an_emptied_directory_or_one_replaced_by_a_full_one_keeps_no_file() {
    let mut emptied = TrackerFixture::new();
    emptied.scan(0, &[("a", 1)]);
    emptied.scan(300, &[]);
    assert_eq!(emptied.gone(1_300), ["a"]);
    let mut replaced = TrackerFixture::new();
    replaced.scan(0, &[("a", 1)]);
    replaced.scan_in(2, 300, &[("b", 1)]);
    assert_eq!(replaced.gone(1_300), ["a"]);
}

#[test]
fn at_the_start_old_files_need_no_settling_and_young_ones_do() {
    let mut story = TrackerFixture::new();
    story.scan(0, &[("old", 1_000), ("young", 1_009), ("future", 9_999)]);
    let today = SystemTime::UNIX_EPOCH + Duration::from_secs(1_010);
    let now = story.at(0);
    story.tracker.trust_old_files(&story.options, now, today);
    assert_eq!(story.ready(0), ["old"]);
    assert!(story.tracker.is_settling());
}
