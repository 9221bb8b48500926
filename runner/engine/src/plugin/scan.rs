//! The contents of the plugin directory: names and stamps, no bytes.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::file_name::{is_plugin_name, looks_like_plugin, printable};

/// Maximum number of names that one scan reads, far above the number of files that are
/// loaded. With more, the listing is incomplete and no file counts as removed.
pub(super) const MAX_LISTED: usize = 100_000;

/// All metadata that changes when a file's bytes may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    pub(super) size: u64,
    modified: (i64, i64),
    /// The inode's change time: it also changes when the owner sets `modified` back, and
    /// on a chmod that makes an unreadable file readable.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Stamp {
        Stamp {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// When the file was last written or touched.
    pub(super) fn modified(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.modified;
        match u64::try_from(seconds) {
            Ok(seconds) => {
                let since = Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or_default());
                SystemTime::UNIX_EPOCH + since
            }
            // Before 1970: treated as 1970.
            Err(_) => SystemTime::UNIX_EPOCH,
        }
    }

    /// The n-th stamp of a file, last changed n seconds after 1970.
    #[cfg(test)]
    pub(super) fn nth(n: i64) -> Stamp {
        Stamp {
            file: (1, 1),
            size: 1,
            modified: (n, 0),
            changed: (n, 0),
        }
    }

    /// Whether the file last changed at least `age` before `now`. False for a time in the
    /// future.
    pub(super) fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        let limit = now.saturating_sub(age).as_secs() as i64;
        self.modified.0 < limit && self.changed.0 < limit
    }
}

/// A directory entry named `*.wasm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A regular file, or a link to one.
    File(Stamp),
    /// Not a file that can ever be a plugin, with the reason for operators.
    NotAFile(String),
}

/// The directory at one moment.
#[derive(Debug)]
pub(super) struct DirectoryListing {
    pub(super) files: BTreeMap<String, Seen>,
    /// Device and inode of the directory, which identify it.
    pub(super) identity: (u64, u64),
    /// Whether every name was read.
    pub(super) complete: bool,
}

impl DirectoryListing {
    /// Whether no file could be a plugin.
    pub(super) fn is_empty(&self) -> bool {
        let may_be = |seen: &Seen| matches!(seen, Seen::File(stamp) if stamp.size > 0);
        !self.files.values().any(may_be)
    }
}

/// Reads the directory without opening its files. Blocks.
pub(super) fn scan(dir: &Path) -> io::Result<DirectoryListing> {
    let meta = fs::metadata(dir)?;
    let mut listing = DirectoryListing {
        files: BTreeMap::new(),
        identity: (meta.dev(), meta.ino()),
        complete: true,
    };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| looks_like_plugin(name)) else {
            continue;
        };
        if listing.files.len() >= MAX_LISTED {
            listing.complete = false;
            break;
        }
        if !is_plugin_name(name) {
            let (shown, reason) = (
                printable(name),
                "its name has a control character; rename it",
            );
            listing
                .files
                .insert(shown, Seen::NotAFile(reason.to_owned()));
        } else if let Some(seen) = inspect_entry(&entry.path()) {
            listing.files.insert(name.to_owned(), seen);
        }
    }
    Ok(listing)
}

/// Follows links: Kubernetes mounts files as links into a hidden directory.
fn inspect_entry(path: &Path) -> Option<Seen> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Some(Seen::File(Stamp::of(&meta))),
        Ok(meta) => Some(Seen::NotAFile(format!(
            "it is {}, not a file",
            kind_of(&meta)
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Removed since the name was read, unless the name still exists.
            let link = fs::symlink_metadata(path).ok();
            link.map(|_| Seen::NotAFile("it is a link to nothing".to_owned()))
        }
        Err(error) => Some(Seen::NotAFile(format!(
            "its metadata cannot be read: {error}"
        ))),
    }
}

fn kind_of(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_control_characters_is_shown_without_them_and_never_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("a\u{1b}[2J\n.wasm"), "x").expect("a file");
        let listing = scan(dir.path()).expect("a listing");
        let (name, seen) = listing.files.first_key_value().expect("it is seen");
        assert_eq!(name, "a\u{fffd}[2J\u{fffd}.wasm");
        assert!(matches!(seen, Seen::NotAFile(_)), "{seen:?}");
    }

    #[test]
    fn a_plugin_name_that_is_not_a_file_is_recognized() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("dir.wasm")).expect("a directory");
        std::os::unix::fs::symlink("nowhere", path("dangling.wasm")).expect("a link");
        std::os::unix::fs::symlink("/dev/zero", path("zero.wasm")).expect("a link");
        fs::write(path("real.wasm"), "x").expect("a file");
        std::os::unix::fs::symlink("real.wasm", path("link.wasm")).expect("a link");

        let listing = scan(dir.path()).expect("a listing");
        assert_eq!(listing.files["link.wasm"], listing.files["real.wasm"]);
        for (name, what) in [
            ("dangling.wasm", "it is a link to nothing"),
            ("dir.wasm", "it is a directory, not a file"),
            ("zero.wasm", "it is a device, not a file"),
        ] {
            assert_eq!(listing.files[name], Seen::NotAFile(what.into()));
        }
    }
}
