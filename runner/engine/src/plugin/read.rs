//! Reads a plugin file once, in full; every later step uses only those bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::scan::Stamp;
use pgtq_sandbox::LoadError;
use pgtq_task::Digest;

/// A file's bytes and their digest.
pub(super) struct FileBytes {
    pub(super) bytes: Arc<[u8]>,
    pub(super) digest: Digest,
    /// The stamp, if it was the same before and after reading.
    pub(super) stamp: Option<Stamp>,
}

/// Why a file's bytes are not available.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file does not exist (any more).
    #[error("the file is gone")]
    Gone,
    /// The file can never be a plugin as it is.
    #[error("{0}")]
    Unfit(String),
    /// Permissions or a disk error: a later try may succeed.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// Reads the file at `path`, following links, at most `limit` bytes. Never
/// waits for a pipe or a device. Blocks.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<FileBytes, ReadError> {
    let mut file = open_regular(path)?;
    let before = Stamp::of(&file.metadata().map_err(ReadError::Io)?);
    if before.size > limit {
        return Err(too_large(before.size, limit));
    }
    let mut bytes = Vec::with_capacity(before.size as usize);
    let reader = (&mut file).take(limit + 1);
    { reader }.read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64, limit));
    }
    let after = Stamp::of(&file.metadata().map_err(ReadError::Io)?);
    Ok(FileBytes {
        digest: Digest::of(&bytes),
        bytes: bytes.into(),
        stamp: (before == after).then_some(after),
    })
}

fn open_regular(path: &Path) -> Result<File, ReadError> {
    // Without O_NONBLOCK, opening a pipe waits for a writer, possibly without end.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Gone,
            _ => ReadError::Io(error),
        })?;
    let meta = file.metadata().map_err(ReadError::Io)?;
    if meta.is_file() {
        Ok(file)
    } else {
        Err(ReadError::Unfit("it is not a regular file".to_owned()))
    }
}

fn too_large(bytes: u64, limit: u64) -> ReadError {
    ReadError::Unfit(LoadError::TooLarge { bytes, limit }.to_string())
}
