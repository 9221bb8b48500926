//! Temporary directories that are removed after their process has ended.
//!
//! Each contains a file `owner`, which the owning process keeps locked. The kernel
//! releases the lock when the process ends, even by SIGKILL. Unlike a process id, a lock
//! works across containers that share `/tmp`. If the file can be locked, the directory
//! has no owner and may be removed.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::account::ServerAccount;
use super::client::{self, SOCKET};
use super::postmaster;
use crate::pause;

const PREFIX: &str = "pgtq-pg-";
const OWNER: &str = "owner";

/// The path of the socket, with its name, is limited to 107 bytes (103 on macOS).
const LONGEST_PARENT: usize = 64;

/// A temporary directory. Dropping it removes it and its contents.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked until this process ends.
    _owner: File,
}

impl Temporary {
    /// Creates a directory owned by `account`.
    pub(super) fn create(account: ServerAccount) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(8)
            .tempdir_in(parent(account))?;
        // Renamed after it is locked, so that no other process can find it unlocked. The
        // lock belongs to the file, not to the name.
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
        // If this fails, a later start removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The parent of temporary directories: the system's directory for temporary files, if
/// its path is short enough and `account` has access, otherwise `/tmp`.
fn parent(account: ServerAccount) -> PathBuf {
    let usual = env::temp_dir();
    let fits = usual.as_os_str().len() <= LONGEST_PARENT;
    if fits && account.blocked_by(&usual.join(PREFIX)).is_none() {
        usual
    } else {
        PathBuf::from("/tmp")
    }
}

/// Removes directories without a live owner, and stops servers in them. Directories of
/// other users are not changed.
pub(super) fn reap(account: ServerAccount) {
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
    // No owner file: another process is creating this directory, or pgtq did not
    // create it.
    let Ok(owner) = File::open(dir.join(OWNER)) else {
        return;
    };
    if owner.try_lock().is_err() {
        return;
    }
    stop_orphan(dir);
    let _ = fs::remove_dir_all(dir);
}

/// Stops a server without an owner. On Linux the kernel stops it, shortly after the
/// owner has ended; this is for the time in between, and for other systems.
fn stop_orphan(dir: &Path) {
    // A pid file may be stale and its process id reused. A server that accepts
    // connections on the socket in this directory is proof.
    let timeout = Duration::from_secs(1);
    if !dir.join(SOCKET).exists() || !client::is_ready(dir, "postgres", timeout) {
        return;
    }
    let lock_file = dir.join(format!("{SOCKET}.lock"));
    let Some(pid) = postmaster::pid_in(&lock_file) else {
        return;
    };
    postmaster::signal(pid, libc::SIGQUIT);
    let deadline = Instant::now() + Duration::from_secs(5);
    while postmaster::exists(pid) && Instant::now() < deadline {
        pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_removed_only_without_a_live_owner() {
        let held = Temporary::create(ServerAccount::Own).unwrap();
        reap_one(held.path());
        assert!(held.path().exists(), "the owner holds the lock");

        let path = held.path().to_owned();
        let Temporary { _owner, .. } = &held;
        _owner.unlock().unwrap();
        reap_one(&path);
        assert!(!path.exists(), "the owner released the lock");
    }

    #[test]
    fn a_directory_without_an_owner_file_is_not_removed() {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap();
        reap_one(dir.path());
        assert!(dir.path().exists());
    }
}
