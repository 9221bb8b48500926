use super::*;

const OLD: SystemTime = SystemTime::UNIX_EPOCH;

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A process that crashes while it loads: its lock is released, its note stays.
fn crash(dir: &Path, n: u8) {
    crash_under(dir, digest(n));
}

pub(in crate::plugin) fn crash_under(dir: &Path, digest: Digest) {
    let journal = LoadJournal::open(Some(dir));
    let mut note = journal.begin(digest, "a.wasm");
    let (name, lock) = note.held.take().expect("it is written");
    drop(lock);
    assert!(journal.notes("").contains(&name));
}

fn crashes(dir: &Path, n: u8) -> usize {
    LoadJournal::open(Some(dir)).crashes(digest(n), OLD)
}

#[test]
fn each_crash_during_a_load_counts_once() {
    let dir = directory();
    assert_eq!(crashes(dir.path(), 1), 0);
    crash(dir.path(), 1);
    assert_eq!((crashes(dir.path(), 1), crashes(dir.path(), 2)), (1, 0));
    assert_eq!(crashes(dir.path(), 1), 1, "however often it is read");
    crash(dir.path(), 1);
    crash(dir.path(), 2);
    assert_eq!((crashes(dir.path(), 1), crashes(dir.path(), 2)), (2, 1));
}

#[test]
fn a_load_in_a_live_process_is_not_a_crash() {
    let dir = directory();
    let first = LoadJournal::open(Some(dir.path()));
    let loading = first.begin(digest(1), "a.wasm");
    assert_eq!(crashes(dir.path(), 1), 0);
    // Another load of the same bytes that crashes: an event that ends both counts once.
    crash(dir.path(), 1);
    assert_eq!(crashes(dir.path(), 1), 0);
    drop(loading);
    assert_eq!(crashes(dir.path(), 1), 0);
    crash(dir.path(), 1);
    assert_eq!(crashes(dir.path(), 1), 1);
}

#[test]
fn a_finished_or_stopped_load_leaves_no_note() {
    let dir = directory();
    let journal = LoadJournal::open(Some(dir.path()));
    drop(journal.begin(digest(1), "a.wasm"));
    assert_eq!(journal.notes(""), [""; 0]);
    // An orderly end of the process, with a load that cannot be stopped.
    let stuck = journal.begin(digest(1), "a.wasm");
    journal.close();
    assert_eq!(journal.notes(""), [""; 0]);
    drop(journal.begin(digest(2), "b.wasm"));
    drop(stuck);
    assert_eq!(crashes(dir.path(), 1), 0);
}

#[test]
fn a_successful_load_forgets_earlier_crashes() {
    let dir = directory();
    crash(dir.path(), 1);
    crash(dir.path(), 2);
    let journal = LoadJournal::open(Some(dir.path()));
    journal.begin(digest(1), "a.wasm").succeeded(digest(1));
    assert_eq!((crashes(dir.path(), 1), crashes(dir.path(), 2)), (0, 1));
}

#[test]
fn crashes_before_the_file_was_touched_do_not_count() {
    let dir = directory();
    crash(dir.path(), 1);
    crash(dir.path(), 1);
    let journal = LoadJournal::open(Some(dir.path()));
    let touched = SystemTime::now();
    assert_eq!(journal.crashes(digest(1), touched), 0);
    // A modification time in the future does not count as a touch.
    let future = touched + Duration::from_secs(86_400);
    assert_eq!(journal.crashes(digest(1), future), 2);
}

#[test]
fn old_notes_are_removed_and_young_ones_stay() {
    let dir = directory();
    crash(dir.path(), 1);
    let journal = LoadJournal::open(Some(dir.path()));
    let notes = journal.dir.as_ref().expect("a directory").path();
    let note = notes.join(&journal.notes("")[0]);
    let file = File::options().write(true).open(&note).expect("a note");
    let long_ago = SystemTime::now() - KEPT - Duration::from_secs(60);
    file.set_modified(long_ago).expect("its time is set");
    drop(file);
    crash(dir.path(), 2);
    assert_eq!((crashes(dir.path(), 1), crashes(dir.path(), 2)), (0, 1));
}

#[test]
fn without_a_directory_nothing_is_counted_and_nothing_fails() {
    for dir in [None, Some(Path::new("/proc/no-such-directory"))] {
        let journal = LoadJournal::open(dir);
        let note = journal.begin(digest(1), "a.wasm");
        assert_eq!(journal.crashes(digest(1), OLD), 0);
        note.succeeded(digest(1));
    }
}
