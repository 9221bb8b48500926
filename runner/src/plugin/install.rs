//! Puts a file into the plugin directory, or back, in one step.

use std::io;
use std::path::{Path, PathBuf};

use crate::sandbox::LoadError;
use crate::task::Digest;

/// Why nothing was installed. Nothing is half-done then.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file to install cannot be read.
    #[error("read {file}: {reason}")]
    Source {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not a plugin that a runner would take.
    #[error("{file} is refused: {reason}")]
    Refused {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: LoadError,
    },
    /// The caller's own check said no.
    #[error("{file} is refused: {reason}")]
    CheckFailed {
        /// The file.
        file: PathBuf,
        /// What the check said.
        reason: String,
    },
    /// Its handlers are spread over several files of the directory.
    #[error(
        "{file} has handlers of more than one installed plugin: {holders}; remove all but one first"
    )]
    SeveralHolders {
        /// The file.
        file: PathBuf,
        /// Which file holds which handler.
        holders: String,
    },
    /// No file and no handler of that name is installed.
    #[error("no installed plugin file or handler is called `{wanted}`; there are: {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The file names that have versions.
        known: String,
    },
    /// There is nothing to go back to.
    #[error(
        "no kept version of {file} {wanted}; `pgtq deploy` keeps the last {keep}, a file copied by hand is not kept"
    )]
    NoSuchVersion {
        /// The file.
        file: String,
        /// Which version was asked for.
        wanted: String,
        /// How many are kept.
        keep: usize,
    },
    /// A kept file is not what its name says.
    #[error(
        "the kept version {file} is damaged: its bytes do not have the digest in its name; deploy the file again"
    )]
    Damaged {
        /// The kept file.
        file: PathBuf,
    },
    /// The directory takes no files from us.
    #[error("write to {dir}: {reason}; it must be a directory that this user may write to")]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No room.
    #[error("write to {dir}: no space left; nothing was changed")]
    NoSpace {
        /// The directory.
        dir: PathBuf,
    },
    /// Anything else that the system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The file in the plugin directory.
    pub file: PathBuf,
    /// What it holds now.
    pub digest: Digest,
    /// What it held before; equal to `digest` if there was nothing to do.
    pub replaced: Option<Digest>,
}

/// A version that can be rolled back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// The name of the file in the plugin directory that it was.
    pub name: String,
    /// Grows with every version kept for that name.
    pub number: u64,
    /// The version.
    pub digest: Digest,
    /// Where it is kept.
    pub path: PathBuf,
    /// Whether it is also what is installed now.
    pub current: bool,
}

/// Installs `source` into `dir`: checks it, keeps the file it replaces, and
/// swaps it in by a rename. Replaces the file that holds its handlers, else
/// goes by its own name. `check` may look further, for example compile it; its
/// error is shown. Blocks.
pub fn install(
    dir: &Path,
    source: &Path,
    check: impl FnOnce(&[u8]) -> Result<(), String>,
) -> Result<Installed, InstallError> {
    let _ = (dir, source, check(&[]));
    todo!()
}

/// Puts a kept version back: the last one that differs, or that of digest
/// `to`. `what` is a file name or a handler name. What it replaces is kept, so
/// that a second rollback undoes the first. Blocks.
pub fn rollback(dir: &Path, what: &str, to: Option<Digest>) -> Result<Installed, InstallError> {
    let _ = (dir, what, to);
    todo!()
}

/// All kept versions, newest first for each name. Blocks.
pub fn versions(dir: &Path) -> Result<Vec<KeptVersion>, InstallError> {
    let _ = dir;
    todo!()
}
