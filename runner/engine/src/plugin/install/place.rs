//! Writes files atomically: write a temporary file, sync it, rename it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::InstallError;

/// Writes these bytes to `dir/name`, replacing an existing file. A link is replaced, not
/// followed.
pub(super) fn place(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), InstallError> {
    let failed = |error| InstallError::writing(dir, &format!("write {name}"), error);
    let (mut file, unfinished) = create_beside(dir, name).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    // Runners may be another user, and code is not secret. Set explicitly, because of the
    // umask.
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .map_err(failed)?;
    // Before the rename: otherwise a power failure may leave the name without its bytes.
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished.0, dir.join(name)).map_err(failed)?;
    std::mem::forget(unfinished);
    sync_dir(dir).map_err(failed)
}

/// A hidden file in the same directory, so that a rename can move it into place.
fn create_beside(dir: &Path, name: &str) -> io::Result<(File, Unfinished)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        // Two concurrent deployments must not write into one file.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".{name}.{}-{count}.tmp", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        match file {
            Ok(file) => return Ok((file, Unfinished(path))),
            // Left behind by a killed process with our process id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes the file if the write did not complete.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is hidden and ends in `.tmp`: no runner loads it if this fails too.
        let _ = fs::remove_file(&self.0);
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network file systems cannot sync a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}
