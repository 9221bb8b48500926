//! Our own directory listings: wasmtime reads the whole directory before the guest gets
//! its first name, and a directory may hold millions.

use std::ffi::OsString;
use std::fs::{self, DirEntry, File, FileType, ReadDir};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::vec;

use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::runtime::spawn_blocking;

/// Names that are read at a time: the memory of a listing.
const BATCH: usize = 1_000;

/// A directory that is being listed.
pub(crate) struct Listing {
    read: vec::IntoIter<io::Result<(OsString, FileType)>>,
    /// None once all is read.
    rest: Option<ReadDir>,
}

impl Listing {
    /// Begins to list a directory. Cancel-safe.
    pub(crate) async fn open(directory: Arc<File>) -> io::Result<Listing> {
        let opened = spawn_blocking(move || {
            // By its handle: another directory may have its name by now.
            let opened = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            opened.map(read_on)
        });
        opened.await
    }

    /// The next name, none at the end. An error is about one name, not about those after
    /// it. Dropping a call ends the listing.
    pub(crate) async fn next(&mut self) -> FsResult<Option<DirectoryEntry>> {
        if self.read.len() == 0
            && let Some(rest) = self.rest.take()
        {
            *self = spawn_blocking(move || read_on(rest)).await;
        }
        let Some(entry) = self.read.next() else {
            return Ok(None);
        };
        let (name, kind) = entry?;
        let name = name.into_string();
        Ok(Some(DirectoryEntry {
            name: name.map_err(|_| ErrorCode::IllegalByteSequence)?,
            type_: descriptor_type(kind),
        }))
    }
}

fn read_on(mut rest: ReadDir) -> Listing {
    let kind_of = |entry: DirEntry| Ok((entry.file_name(), entry.file_type()?));
    let read: Vec<_> = rest
        .by_ref()
        .take(BATCH)
        .map(|entry| entry.and_then(kind_of))
        .collect();
    Listing {
        rest: (read.len() == BATCH).then_some(rest),
        read: read.into_iter(),
    }
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        kind if kind.is_dir() => DescriptorType::Directory,
        kind if kind.is_symlink() => DescriptorType::SymbolicLink,
        kind if kind.is_file() => DescriptorType::RegularFile,
        kind if kind.is_block_device() => DescriptorType::BlockDevice,
        kind if kind.is_char_device() => DescriptorType::CharacterDevice,
        kind if kind.is_fifo() => DescriptorType::Fifo,
        kind if kind.is_socket() => DescriptorType::Socket,
        _ => DescriptorType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn opened(dir: &tempfile::TempDir) -> Arc<File> {
        Arc::new(File::open(dir.path()).expect("a directory"))
    }

    #[tokio::test]
    async fn a_large_directory_is_never_in_memory_as_a_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        for n in 0..2 * BATCH + 500 {
            File::create(dir.path().join(n.to_string())).expect("a file");
        }
        let mut listing = Listing::open(opened(&dir)).await.expect("a listing");
        let mut names = BTreeSet::new();
        while let Some(entry) = listing.next().await.expect("a name") {
            assert!(listing.read.len() < BATCH);
            names.insert(entry.name);
        }
        assert_eq!(names.len(), 2 * BATCH + 500);
    }

    #[tokio::test]
    async fn a_name_that_is_not_utf8_hides_no_other() {
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().expect("a directory");
        let odd = std::ffi::OsStr::from_bytes(b"\xff");
        File::create(dir.path().join(odd)).expect("a file");
        fs::create_dir(dir.path().join("sub")).expect("a directory");
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).expect("a link");
        let mut listing = Listing::open(opened(&dir)).await.expect("a listing");
        let mut seen = BTreeSet::new();
        loop {
            seen.insert(match listing.next().await {
                Ok(Some(entry)) => format!("{} {:?}", entry.name, entry.type_),
                Ok(None) => break,
                Err(error) => error.downcast().expect("no trap").name().to_owned(),
            });
        }
        let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        assert_eq!(
            seen,
            [
                "illegal-byte-sequence",
                "link DescriptorType::SymbolicLink",
                "sub DescriptorType::Directory",
            ]
        );
    }
}
