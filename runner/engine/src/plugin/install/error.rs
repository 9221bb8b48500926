//! Why nothing was installed.

use std::io;
use std::path::{Path, PathBuf};

use pgtq_sandbox::LoadError;
use pgtq_task::toml_key;

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
    /// The file would replace what it is not a new version of.
    #[error("{file} cannot be installed: {clash}")]
    Clash {
        /// The file.
        file: PathBuf,
        /// Which handler is in which installed file, and what to do.
        clash: String,
    },
    /// The file would get what was granted to another name.
    #[error(
        "{} would replace {plugin}.wasm and get what [grants.{}] grants:{grants}\nif it is a new version of {plugin}, say so: pgtq deploy {} --as {plugin}",
        file.display(), toml_key(plugin), file.display()
    )]
    InheritsGrants {
        /// The file.
        file: PathBuf,
        /// The plugin whose name it would get.
        plugin: String,
        /// What is granted to that name, each on a line of its own.
        grants: String,
    },
    /// The file's own name is not that of a plugin.
    #[error(
        "{file} cannot be installed under that name: a plugin file is called something.wasm and does not begin with a dot"
    )]
    BadName {
        /// The file.
        file: PathBuf,
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
        "no other version of {file}{wanted} is kept; `pgtq deploy` keeps the last {keep}, a file copied by hand is not kept"
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
    #[error("write to {dir}: no space left; what was installed stays")]
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

impl InstallError {
    /// Sorts what the system said about writing in `dir` by what a person does next.
    pub(super) fn writing(dir: &Path, doing: &str, error: io::Error) -> InstallError {
        use io::ErrorKind::{
            NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
            StorageFull,
        };
        let dir = dir.to_owned();
        match error.kind() {
            StorageFull | QuotaExceeded => InstallError::NoSpace { dir },
            NotFound | NotADirectory | PermissionDenied | ReadOnlyFilesystem => {
                let reason = error.to_string();
                InstallError::NotWritable { dir, reason }
            }
            _ => InstallError::Io {
                doing: format!("{doing} in {}", dir.display()),
                source: error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_a_person_can_do() {
        let text = |code| {
            let error = io::Error::from_raw_os_error(code);
            InstallError::writing(Path::new("/p"), "write a.wasm", error).to_string()
        };
        for full in [libc::ENOSPC, libc::EDQUOT] {
            assert_eq!(
                text(full),
                "write to /p: no space left; what was installed stays"
            );
        }
        for denied in [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENOENT] {
            let text = text(denied);
            assert!(
                text.ends_with("it must be a directory that this user may write to"),
                "{text}"
            );
        }
        let text = text(libc::EIO);
        assert!(text.starts_with("write a.wasm in /p: "), "{text}");
    }
}
