//! Which files crashed the process while it loaded them.
//!
//! Before a file is inspected, a note with its digest is written to a directory that
//! outlives the process, and the process locks the note. When the load has ended, the
//! note is removed. A note without a lock belongs to a process that ended meanwhile: it
//! counts as one crash under that digest. Several runners may share the directory.
//!
//! A note outlives the process, not a power failure: it is not synced.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pgtq_sandbox::PrivateDir;
use pgtq_task::Digest;

/// At this number of crashes under a digest the file is no longer loaded.
pub(super) const MAX_CRASHES: usize = 2;
/// Maximum number of notes that one pass reads.
const MAX_NOTES: usize = 10_000;
/// Older notes are removed.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// The subdirectory of notes.
const DIR: &str = "loads";
/// Marks the note of a process that began while another one was loading the same bytes.
/// An event that ends both, such as a power failure, counts once.
const BESIDE: &str = "beside-";
/// Marks a note that is not locked yet.
const UNFINISHED: &str = ".unfinished-";

/// The notes of all runners on this machine that share a directory.
#[derive(Debug, Default)]
pub(super) struct LoadJournal {
    /// None: notes cannot be kept, and crashes are not counted.
    dir: Option<PrivateDir>,
    /// The names of this process's notes; none once the journal is closed.
    open: Mutex<Option<BTreeSet<String>>>,
}

/// One load in progress. Dropping it records that the load ended and that the process
/// survived it.
#[derive(Debug)]
pub(super) struct LoadNote {
    journal: Arc<LoadJournal>,
    /// Its name and the lock; none if it could not be written.
    held: Option<(String, File)>,
}

impl LoadJournal {
    /// Opens, or creates, the notes in `dir`. Without a usable directory crashes are not
    /// counted, and a warning is logged. Blocks.
    pub(super) fn open(dir: Option<&Path>) -> Arc<LoadJournal> {
        let opened = dir.map(|dir| PrivateDir::open(dir).and_then(|dir| dir.inner(DIR)));
        let dir = match opened {
            None => None,
            Some(Ok(dir)) => Some(dir),
            Some(Err(error)) => {
                tracing::warn!(%error, "crashes while plugin files are loaded will not be counted");
                None
            }
        };
        let journal = LoadJournal {
            dir,
            open: Mutex::new(Some(BTreeSet::new())),
        };
        journal.remove_old();
        Arc::new(journal)
    }

    /// How many processes crashed while they loaded these bytes since the file was last
    /// modified: touching a file grants it another try. Blocks.
    pub(super) fn crashes(&self, digest: Digest, modified: SystemTime) -> usize {
        // A time in the future is ignored.
        let modified = Some(modified).filter(|time| *time <= SystemTime::now());
        let since = |path: &Path| {
            let noted = fs::metadata(path).and_then(|meta| meta.modified()).ok();
            modified.is_none_or(|modified| noted.is_some_and(|noted| noted >= modified))
        };
        let notes = self.notes(&prefix(digest));
        notes
            .iter()
            .filter(|name| !name.contains(BESIDE))
            .filter_map(|name| self.orphaned(name))
            .filter(|path| since(path))
            .count()
    }

    /// Records that these bytes are being loaded. Blocks.
    pub(super) fn begin(self: &Arc<Self>, digest: Digest, file: &str) -> LoadNote {
        let held = self.write(digest, file).unwrap_or_else(|error| {
            tracing::warn!(file, %error, "plugin {file}: a crash while it is loaded will not be counted");
            None
        });
        LoadNote {
            journal: Arc::clone(self),
            held,
        }
    }

    /// The process is about to end in an orderly way: loads still in progress must not be
    /// blamed.
    pub(super) fn close(&self) {
        let open = self.lock().take();
        for name in open.into_iter().flatten() {
            self.remove(&name);
        }
    }

    fn write(&self, digest: Digest, file: &str) -> io::Result<Option<(String, File)>> {
        let mut open = self.lock();
        let (Some(dir), Some(open)) = (&self.dir, open.as_mut()) else {
            return Ok(None);
        };
        let mut note = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(dir.path())?;
        writeln!(note, "process {}, file {file:?}", std::process::id())?;
        // Renamed to its final name only once it is locked: otherwise it would look like
        // a dead process's note.
        note.as_file().try_lock()?;
        let random = note
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let random = random.trim_start_matches(UNFINISHED);
        let beside = match self.is_being_loaded(digest) {
            true => BESIDE,
            false => "",
        };
        let name = format!("{}{beside}{random}", prefix(digest));
        let lock = note
            .persist_noclobber(dir.path().join(&name))
            .map_err(|error| error.error)?;
        open.insert(name.clone());
        Ok(Some((name, lock)))
    }

    /// Whether a live process loads these bytes now.
    fn is_being_loaded(&self, digest: Digest) -> bool {
        let Some(dir) = &self.dir else {
            return false;
        };
        let is_locked = |name: &String| {
            let note = File::open(dir.path().join(name));
            note.is_ok_and(|note| matches!(note.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        self.notes(&prefix(digest)).iter().any(is_locked)
    }

    /// Forgets the crashes under a digest. Blocks.
    fn forget_crashes(&self, digest: Digest) {
        for name in self.notes(&prefix(digest)) {
            if self.orphaned(&name).is_some() {
                self.remove(&name);
            }
        }
    }

    /// The note's path, if no process holds its lock.
    fn orphaned(&self, name: &str) -> Option<std::path::PathBuf> {
        let path = self.dir.as_ref()?.path().join(name);
        // A shared lock: two simultaneous checks must not mistake each other for the
        // owner.
        match File::open(&path).ok()?.try_lock_shared() {
            Ok(()) => Some(path),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "locks do not work in the directory of notes");
                None
            }
        }
    }

    fn notes(&self, prefix: &str) -> Vec<String> {
        let Some(entries) = self
            .dir
            .as_ref()
            .and_then(|dir| fs::read_dir(dir.path()).ok())
        else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .take(MAX_NOTES)
            .filter(|name| name.starts_with(prefix))
            .collect()
    }

    fn remove_old(&self) {
        for name in self.notes("") {
            let is_old = |path: &Path| {
                let modified = fs::metadata(path).and_then(|meta| meta.modified());
                modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT))
            };
            if self.orphaned(&name).is_some_and(|path| is_old(&path)) {
                self.remove(&name);
            }
        }
    }

    fn remove(&self, name: &str) {
        if let Some(dir) = &self.dir {
            // Another runner may have removed it.
            let _ = fs::remove_file(dir.path().join(name));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BTreeSet<String>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadNote {
    /// The file was loaded: it did not cause the earlier crashes.
    pub(super) fn succeeded(self, digest: Digest) {
        self.journal.forget_crashes(digest);
    }
}

impl Drop for LoadNote {
    fn drop(&mut self) {
        let Some((name, lock)) = self.held.take() else {
            return;
        };
        if let Some(open) = self.journal.lock().as_mut() {
            open.remove(&name);
        }
        // Removed before it is unlocked, so that it never looks like a dead process's
        // note.
        self.journal.remove(&name);
        drop(lock);
    }
}

fn prefix(digest: Digest) -> String {
    format!("{digest}.")
}

#[cfg(test)]
pub(super) mod tests;
