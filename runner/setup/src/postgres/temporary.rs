//! Temporary directories that outlive nobody.
//!
//! Each holds a file `owner` on which the owning process keeps a lock. The kernel
//! lets go of the lock when the process ends, however it ends, and unlike a
//! process id that holds across containers that share `/tmp`. So a directory
//! whose owner file can be locked has no owner and may be removed.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::Account;
use super::client::{self, SOCKET};
use super::postmaster;
use crate::pause;

const PREFIX: &str = "pgtq-pg-";
const OWNER: &str = "owner";

/// The socket's path must fit in 107 bytes (103 on macOS), its name included.
const LONGEST_PARENT: usize = 64;

/// A temporary directory; dropping it removes it and all that is in it.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked for as long as this process lives.
    _owner: File,
}

impl Temporary {
    /// Makes one that belongs to `account`.
    pub(super) fn create(account: Account) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(8)
            .tempdir_in(parent(account))?;
        // The file gets its name after the lock, so that no other process can
        // find it unlocked. The lock belongs to the file, not to the name.
        let unnamed = made.path().join("owner.new");
        let owner = File::create(&unnamed)?;
        owner.lock()?;
        fs::rename(&unnamed, made.path().join(OWNER))?;
        account.give(made.path())?;
        Ok(Temporary {
            path: made.keep(),
            _owner: owner,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where temporary directories are made: the system's place for them if its path
/// is short and `account` can get there, else `/tmp`.
fn parent(account: Account) -> PathBuf {
    let usual = env::temp_dir();
    let fits = usual.as_os_str().len() <= LONGEST_PARENT;
    if fits && account.barred_by(&usual.join(PREFIX)).is_none() {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}

/// Removes the directories whose owners are dead, and ends servers in them that
/// are still running. Directories of other users are left alone.
pub(super) fn reap(account: Account) {
    let Ok(entries) = parent(account).read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            reap_one(&entry.path());
        }
    }
}

fn reap_one(dir: &Path) {
    // No owner file: somebody is making this directory just now, or it is not ours.
    let Ok(owner) = File::open(dir.join(OWNER)) else {
        return;
    };
    if owner.try_lock().is_err() {
        return;
    }
    end_orphan(dir);
    let _ = fs::remove_dir_all(dir);
}

/// Ends a server that lost its owner. On Linux it ends by itself, so this is for
/// the moment in between and for other systems.
fn end_orphan(dir: &Path) {
    // A pid file may be old and its number another process's by now; a server
    // that answers on the socket in this directory is proof.
    let patience = Duration::from_secs(1);
    if !dir.join(SOCKET).exists() || !client::answers(dir, "postgres", patience) {
        return;
    }
    let lock_file = dir.join(format!("{SOCKET}.lock"));
    let Some(pid) = postmaster::pid_in(&lock_file) else {
        return;
    };
    postmaster::signal(pid, libc::SIGQUIT);
    let deadline = Instant::now() + Duration::from_secs(5);
    while postmaster::lives(pid) && Instant::now() < deadline {
        pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_with_a_live_owner_is_kept_and_one_without_is_reaped() {
        let held = Temporary::create(Account::Own).unwrap();
        reap_one(held.path());
        assert!(held.path().exists(), "its owner lives");

        let path = held.path().to_owned();
        let Temporary { _owner, .. } = &held;
        _owner.unlock().unwrap();
        reap_one(&path);
        assert!(!path.exists(), "its owner let go");
    }

    #[test]
    fn directory_without_owner_file_is_left_alone() {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap();
        reap_one(dir.path());
        assert!(dir.path().exists());
    }
}
