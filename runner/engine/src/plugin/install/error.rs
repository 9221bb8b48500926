//! Why a file was not installed.

use std::io;
use std::path::{Path, PathBuf};

use pgtq_sandbox::LoadError;
use pgtq_task::toml_key;

/// Why a file was not installed. No change is left half-done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file to install cannot be read.
    #[error("read {file}: {reason}")]
    Source {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// The file is not a plugin that a runner would accept.
    #[error("{file} was rejected: {reason}")]
    Refused {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: LoadError,
    },
    /// The caller's own check rejected the file.
    #[error("{file} was rejected: {reason}")]
    CheckFailed {
        /// The file.
        file: PathBuf,
        /// The error of the check.
        reason: String,
    },
    /// The file would replace a plugin without being a new version of it.
    #[error("{file} cannot be installed: {clash}")]
    Clash {
        /// The file.
        file: PathBuf,
        /// Which handler is in which installed file, and how to resolve it.
        clash: String,
    },
    /// The file would get the grants of another name.
    #[error(
        "{} would replace {plugin}.wasm and get what [grants.{}] grants:{grants}\nif it is a new version of {plugin}, name it: pgtq deploy {} --as {plugin}",
        file.display(), toml_key(plugin), file.display()
    )]
    InheritsGrants {
        /// The file.
        file: PathBuf,
        /// The plugin whose name it would get.
        plugin: String,
        /// The grants of that name, one per line.
        grants: String,
    },
    /// The file's own name is not valid for a plugin.
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
        /// The requested name.
        wanted: String,
        /// The file names that have versions.
        known: String,
    },
    /// There is no version to roll back to.
    #[error(
        "no other version of {file}{wanted} is kept; `pgtq deploy` keeps the last {keep} versions, and files copied by hand are not kept"
    )]
    NoSuchVersion {
        /// The file.
        file: String,
        /// The requested version.
        wanted: String,
        /// How many versions are kept.
        keep: usize,
    },
    /// The digest of a kept file does not match its name.
    #[error(
        "the kept version {file} is damaged: its bytes do not have the digest in its name; deploy the file again"
    )]
    Damaged {
        /// The kept file.
        file: PathBuf,
    },
    /// The directory is not writable.
    #[error("write to {dir}: {reason}; it must be a directory that this user may write to")]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// The disk is full.
    #[error("write to {dir}: no space left; the installed file is unchanged")]
    NoSpace {
        /// The directory.
        dir: PathBuf,
    },
    /// Any other error of the operating system.
    #[error("{doing}: {source}")]
    Io {
        /// The operation that failed.
        doing: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl InstallError {
    /// Classifies an error about writing to `dir` by what an operator should do next.
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
    fn system_errors_say_what_the_operator_can_do() {
        let text = |code| {
            let error = io::Error::from_raw_os_error(code);
            InstallError::writing(Path::new("/p"), "write a.wasm", error).to_string()
        };
        for full in [libc::ENOSPC, libc::EDQUOT] {
            assert_eq!(
                text(full),
                "write to /p: no space left; the installed file is unchanged"
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
