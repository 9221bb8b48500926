//! The versions that deployments replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::place::place;
use crate::plugin::file_name::is_plugin_name;
use crate::plugin::read::{FileBytes, ReadError, read_file};
use pgtq_task::Digest;

/// Versions kept for each file, apart from the installed one.
pub const KEEP: usize = 5;

/// The largest file that is installed or restored, in bytes. Only bounds memory: the
/// limit of the runners is a separate setting, and smaller.
pub(super) const MAX_BYTES: u64 = 1 << 30;

const PREVIOUS: &str = ".previous";

/// A version that can be rolled back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its file name in the plugin directory.
    pub name: String,
    /// Increases with every version kept for that name.
    pub number: u64,
    /// The digest of the version.
    pub digest: Digest,
    /// The path of the kept file.
    pub path: PathBuf,
    /// Whether it is also the installed version.
    pub current: bool,
}

/// All kept versions, newest first for each name. Blocks: reads the installed files that
/// have kept versions.
pub fn versions(dir: &Path) -> Result<Vec<KeptVersion>, InstallError> {
    let mut all = Vec::new();
    for stem in names_in(&dir.join(PREVIOUS))? {
        let name = format!("{stem}.wasm");
        let current = installed(dir, &name)?.map(|file| file.digest);
        let mut kept = kept_of(dir, &name)?;
        for version in &mut kept {
            version.current = current == Some(version.digest);
        }
        all.append(&mut kept);
    }
    Ok(all)
}

/// The digest of the file installed under that name, if it can be read.
pub(super) fn installed(dir: &Path, name: &str) -> Result<Option<FileBytes>, InstallError> {
    match read_file(&dir.join(name), MAX_BYTES) {
        Ok(file) => Ok(Some(file)),
        // A pipe or the like has no version to keep.
        Err(ReadError::Gone | ReadError::Unfit(_)) => Ok(None),
        Err(ReadError::Io(source)) => Err(reading(&dir.join(name), source)),
    }
}

/// The kept versions of one file, newest first; `current` is not set.
pub(super) fn kept_of(dir: &Path, name: &str) -> Result<Vec<KeptVersion>, InstallError> {
    let folder = folder(dir, name);
    let mut kept: Vec<KeptVersion> = names_in(&folder)?
        .iter()
        .filter_map(|file| {
            let (number, digest) = file.strip_suffix(".wasm")?.split_once('-')?;
            Some(KeptVersion {
                name: name.to_owned(),
                number: number.parse().ok()?,
                digest: digest.parse().ok()?,
                path: folder.join(file),
                current: false,
            })
        })
        .collect();
    kept.sort_by_key(|version| std::cmp::Reverse(version.number));
    Ok(kept)
}

/// The bytes of a kept version, verified against the digest in its name.
pub(super) fn read_kept(version: &KeptVersion) -> Result<FileBytes, InstallError> {
    let file = read_file(&version.path, MAX_BYTES).map_err(|error| InstallError::Source {
        file: version.path.clone(),
        reason: error.to_string(),
    })?;
    if file.digest == version.digest {
        Ok(file)
    } else {
        let file = version.path.clone();
        Err(InstallError::Damaged { file })
    }
}

/// Keeps `bytes` as the newest version of `name`. A copy, not a hard link: a write into
/// the installed file must not change the kept version.
pub(super) fn keep(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), InstallError> {
    let folder = folder(dir, name);
    fs::create_dir_all(&folder).map_err(|error| {
        InstallError::writing(dir, "create the directory of kept versions", error)
    })?;
    let kept = kept_of(dir, name)?;
    let digest = Digest::of(bytes);
    let number = kept.first().map_or(1, |newest| newest.number + 1);
    place(&folder, &format!("{number}-{digest}.wasm"), bytes)?;
    for same in kept.iter().filter(|version| version.digest == digest) {
        remove(same);
    }
    Ok(())
}

/// Removes all but the newest [`KEEP`] versions that are not `current`.
pub(super) fn prune(dir: &Path, name: &str, current: Digest) -> Result<(), InstallError> {
    let kept = kept_of(dir, name)?;
    let others = kept.iter().filter(|version| version.digest != current);
    others.skip(KEEP).for_each(remove);
    Ok(())
}

fn remove(version: &KeptVersion) {
    // One extra version does no harm; the next deployment tries again.
    if let Err(error) = fs::remove_file(&version.path) {
        tracing::debug!(path = %version.path.display(), %error, "could not remove a kept plugin version");
    }
}

fn folder(dir: &Path, name: &str) -> PathBuf {
    let stem = name.strip_suffix(".wasm").unwrap_or(name);
    dir.join(PREVIOUS).join(stem)
}

/// The names in a directory, sorted; empty if it does not exist.
fn names_in(folder: &Path) -> Result<Vec<String>, InstallError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading(folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| reading(folder, error))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

pub(super) fn reading(path: &Path, source: io::Error) -> InstallError {
    InstallError::Io {
        doing: format!("read {}", path.display()),
        source,
    }
}

/// The file name that `wanted` means, with or without its extension, if that file is
/// installed or has kept versions.
pub(super) fn known_file(dir: &Path, wanted: &str) -> Result<Option<String>, InstallError> {
    let name = match wanted.ends_with(".wasm") {
        true => wanted.to_owned(),
        false => format!("{wanted}.wasm"),
    };
    // It comes from a command line: it must not lead out of the directory.
    if name.contains('/') || !is_plugin_name(&name) {
        return Ok(None);
    }
    let known = dir.join(&name).is_file() || !kept_of(dir, &name)?.is_empty();
    Ok(known.then_some(name))
}
