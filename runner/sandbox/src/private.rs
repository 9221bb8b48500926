//! Directories that only this user can read and write, wherever they are.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// A directory that belongs to this user and is closed to all others. It is held by a
/// descriptor, so that a user who may rename its parents cannot replace it.
#[derive(Debug)]
pub struct PrivateDir {
    dir: File,
    shown: PathBuf,
}

impl PrivateDir {
    /// Opens or creates the directory at `wanted`. If others can read or write there, as
    /// in a volume that Kubernetes mounts, it is the directory `pgtq-UID` inside. Needs
    /// `/proc`. Blocks.
    ///
    /// Fails if neither can be created, or if `pgtq-UID` is not private.
    pub fn open(wanted: &Path) -> io::Result<PrivateDir> {
        DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(wanted)?;
        let outer = PrivateDir {
            dir: directory(wanted, 0)?,
            shown: wanted.to_owned(),
        };
        if is_private(&outer.dir.metadata()?) {
            return Ok(outer);
        }
        outer.inner(&format!("pgtq-{}", user()))
    }

    /// Opens or creates a private directory inside. `name` is one path component.
    pub fn inner(&self, name: &str) -> io::Result<PrivateDir> {
        let path = self.path().join(name);
        let shown = self.shown.join(name);
        let failed = |error: io::Error| {
            let reason = format!("{} cannot be made: {error}", shown.display());
            io::Error::new(error.kind(), reason)
        };
        let is_new = match DirBuilder::new().mode(MODE).create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let dir = directory(&path, libc::O_NOFOLLOW).map_err(failed)?;
        if is_new {
            // A default ACL of the parent may have opened it.
            dir.set_permissions(Permissions::from_mode(MODE))?;
        }
        if !is_private(&dir.metadata()?) {
            return Err(io::Error::other(format!(
                "{} belongs to another user or is open to others; remove it, or choose another directory",
                shown.display()
            )));
        }
        Ok(PrivateDir { dir, shown })
    }

    /// A path to the directory while `self` lives, whatever was renamed meanwhile.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.dir.as_raw_fd()).into()
    }

    /// Its original path, for messages.
    pub fn shown(&self) -> &Path {
        &self.shown
    }
}

/// The effective user of this process.
pub fn user() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether a file belongs to this user and no other user has any right to it.
pub(super) fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() == user() && metadata.mode() & OTHERS == 0
}

fn directory(path: &Path, flags: libc::c_int) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | flags)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_to_all() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        set(dir.path(), 0o777);
        dir
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode is set");
    }

    #[test]
    fn a_private_directory_is_used_unchanged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wanted = dir.path().join("a/b");
        let private = PrivateDir::open(&wanted).expect("it is made");
        assert_eq!(private.shown(), wanted);
        let mode = fs::metadata(&wanted).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_private_directory_is_made_inside_a_shared_one() {
        for mode in [0o777, 0o2775, 0o1777, 0o755, 0o750] {
            let dir = open_to_all();
            set(dir.path(), mode);
            let private = PrivateDir::open(dir.path()).expect("one is made inside");
            let name = format!("pgtq-{}", user());
            assert_eq!(private.shown(), dir.path().join(&name));
            fs::write(private.path().join("x"), "1").expect("it can be written");
            let inside = dir.path().join(&name);
            assert!(inside.join("x").exists());
            assert!(is_private(&fs::metadata(&inside).expect("it is there")));
            // The next process finds it.
            let again = PrivateDir::open(dir.path()).expect("it is found");
            assert!(again.path().join("x").exists());
        }
    }

    #[test]
    fn an_opened_or_linked_inner_directory_is_not_used() {
        let dir = open_to_all();
        let inner = dir.path().join(format!("pgtq-{}", user()));
        fs::create_dir(&inner).expect("a directory");
        set(&inner, 0o770);
        let error = PrivateDir::open(dir.path()).expect_err("it is open to others");
        assert!(error.to_string().contains("remove it"), "{error}");
        fs::remove_dir(&inner).expect("removed");
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        std::os::unix::fs::symlink(elsewhere.path(), &inner).expect("a link");
        PrivateDir::open(dir.path()).expect_err("it is a link");
    }

    #[test]
    fn a_directory_of_another_user_is_never_the_private_one() {
        let dir = open_to_all();
        let inner = dir.path().join(format!("pgtq-{}", user()));
        fs::create_dir(&inner).expect("a directory");
        set(&inner, 0o700);
        if std::os::unix::fs::chown(&inner, Some(12345), None).is_err() {
            return eprintln!("only root can give a directory away; not tested");
        }
        PrivateDir::open(dir.path()).expect_err("it is another user's");
        // The outer one may belong to any user.
        fs::remove_dir(&inner).expect("removed");
        set(dir.path(), 0o700);
        std::os::unix::fs::chown(dir.path(), Some(12345), None).expect("given away");
        let private = PrivateDir::open(dir.path()).expect("one is made inside");
        assert_eq!(private.shown(), inner);
    }

    #[test]
    fn a_replaced_directory_stays_the_one_that_was_opened() {
        let dir = open_to_all();
        let private = PrivateDir::open(dir.path()).expect("one is made inside");
        fs::write(private.path().join("x"), "1").expect("it can be written");
        let name = private.shown().to_owned();
        fs::rename(&name, dir.path().join("aside")).expect("renamed");
        fs::create_dir(&name).expect("another");
        assert!(private.path().join("x").exists());
    }
}
