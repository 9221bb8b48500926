//! Deploy and rollback: the two ways to put a file into the directory.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::kept::{
    KEEP, MAX_BYTES, installed, keep, kept_of, known_file, prune, read_kept, reading, versions,
};
use super::place::place;
use crate::plugin::file_name::{is_plugin_name, plugin_name};
use crate::plugin::read::{FileBytes, read_file};
use crate::plugin::scan::scan;
use pgtq_sandbox::inspect;
use pgtq_task::{Digest, Name};

/// The result of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The file in the plugin directory.
    pub file: PathBuf,
    /// The digest of the installed bytes.
    pub digest: Digest,
    /// The digest of the replaced bytes; equal to `digest` if there was nothing to do.
    pub replaced: Option<Digest>,
}

/// What the configuration grants to a plugin with this name, one line per capability.
pub type GrantLines<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// The name under which a file is installed, and the grants of that name.
#[derive(Clone, Copy, Default)]
pub struct InstallAs<'a> {
    /// The name that the operator gave, with or without `.wasm`. `None`: the file's own
    /// name, or that of the installed file which it updates.
    pub name: Option<&'a str>,
    /// The grants of each name; `None`: no name has any.
    pub grants: Option<GrantLines<'a>>,
}

/// Installs `source` into `dir`: checks it, keeps the file it replaces, and moves it into
/// place by a rename. The installed name is the one that the operator gave, else the name
/// of an installed file all of whose handlers it contains, else its own. It never takes a
/// single handler away from another plugin, and never gets the grants of another name
/// unless the operator gave that name. `check` may validate further, for example compile
/// it; its error is shown. Blocks.
pub fn install(
    dir: &Path,
    source: &Path,
    under: InstallAs<'_>,
    check: impl FnOnce(&[u8]) -> Result<(), String>,
) -> Result<Installed, InstallError> {
    let file = source.to_owned();
    let read = read_file(source, MAX_BYTES).map_err(|error| InstallError::Source {
        file: file.clone(),
        reason: error.to_string(),
    })?;
    let inspection = inspect(&read.bytes).map_err(|reason| InstallError::Refused {
        file: file.clone(),
        reason,
    })?;
    check(&read.bytes).map_err(|reason| InstallError::CheckFailed { file, reason })?;

    let _lock = lock_directory(dir)?;
    let handlers = inspection.handlers.into_iter().map(|h| h.name).collect();
    let name = target(dir, source, &handlers, under)?;
    replace(dir, &name, &read)
}

/// The file name under which [`install`] would put `source`, which has these handlers,
/// into `dir`, or its error. Changes nothing. Blocks.
pub fn install_name(
    dir: &Path,
    source: &Path,
    handlers: &BTreeSet<Name>,
    under: InstallAs<'_>,
) -> Result<String, InstallError> {
    target(dir, source, handlers, under)
}

/// Restores a kept version: the last one that differs, or the one with digest `to`.
/// `what` is a file name, with or without `.wasm`, or a handler name. The version it
/// replaces is kept, so that a second rollback undoes the first. Blocks.
pub fn rollback(dir: &Path, what: &str, to: Option<Digest>) -> Result<Installed, InstallError> {
    let _lock = lock_directory(dir)?;
    let name = match known_file(dir, what)? {
        Some(name) => name,
        None => file_of_handler(dir, what)?,
    };
    let current = installed(dir, &name)?.map(|file| file.digest);
    let kept = kept_of(dir, &name)?;
    if let Some(digest) = to.filter(|to| current == Some(*to)) {
        return Ok(Installed {
            file: dir.join(&name),
            digest,
            replaced: current,
        });
    }
    let wanted = |digest: Digest| match to {
        Some(to) => digest == to,
        None => current != Some(digest),
    };
    match kept.iter().find(|version| wanted(version.digest)) {
        Some(version) => replace(dir, &name, &read_kept(version)?),
        None => Err(InstallError::NoSuchVersion {
            file: name,
            wanted: to.map_or_else(String::new, |to| format!(" with digest {to}")),
            keep: KEEP,
        }),
    }
}

fn replace(dir: &Path, name: &str, new: &FileBytes) -> Result<Installed, InstallError> {
    let old = installed(dir, name)?;
    let replaced = old.as_ref().map(|old| old.digest);
    if let Some(old) = old.filter(|old| old.digest != new.digest) {
        keep(dir, name, &old.bytes)?;
    }
    if replaced != Some(new.digest) {
        place(dir, name, &new.bytes)?;
        prune(dir, name, new.digest)?;
    }
    Ok(Installed {
        file: dir.join(name),
        digest: new.digest,
        replaced,
    })
}

/// The name under which `source` is installed.
fn target(
    dir: &Path,
    source: &Path,
    handlers: &BTreeSet<Name>,
    under: InstallAs<'_>,
) -> Result<String, InstallError> {
    let own = source.file_name().and_then(|name| name.to_str());
    let given = under.name.map(file_name);
    let Some(wanted) = given.as_deref().or(own).filter(|name| is_plugin_name(name)) else {
        let file = given.map_or_else(|| source.to_owned(), PathBuf::from);
        return Err(InstallError::BadName { file });
    };
    let mut takes_over = None;
    for (file, theirs) in installed_handlers(dir)? {
        let Some(shared) = theirs.intersection(handlers).next() else {
            continue;
        };
        if file == wanted {
            continue;
        }
        // Without a given name, only a file whose handlers are all updated may be
        // replaced.
        let renews = given.is_none() && theirs.is_subset(handlers);
        if !renews || takes_over.is_some() || dir.join(wanted).exists() {
            return Err(InstallError::Clash {
                file: source.to_owned(),
                clash: format!(
                    "handler `{shared}` is already in {file}; rename it in one of the two, or remove {file} first"
                ),
            });
        }
        takes_over = Some(file);
    }
    let Some(taken_over) = takes_over else {
        return Ok(wanted.to_owned());
    };
    let plugin = plugin_name(&taken_over);
    let grants = under.grants.map(|of| of(plugin)).unwrap_or_default();
    match grants.is_empty() {
        true => Ok(taken_over),
        // The operator granted this to billing.wasm, not to any file with its handlers.
        false => Err(InstallError::InheritsGrants {
            file: source.to_owned(),
            plugin: plugin.to_owned(),
            grants: grants.iter().map(|line| format!("\n  {line}")).collect(),
        }),
    }
}

/// `billing` and `billing.wasm` are the same name.
fn file_name(name: &str) -> String {
    format!("{}.wasm", plugin_name(name))
}

fn file_of_handler(dir: &Path, wanted: &str) -> Result<String, InstallError> {
    let installed = installed_handlers(dir)?;
    let has = |(_, handlers): &&(String, BTreeSet<Name>)| handlers.contains(wanted);
    if let Some((file, _)) = installed.iter().find(has) {
        return Ok(file.clone());
    }
    let mut known: BTreeSet<String> = installed.into_iter().map(|(file, _)| file).collect();
    known.extend(versions(dir)?.into_iter().map(|version| version.name));
    let known: Vec<String> = known.into_iter().collect();
    let known = match known.is_empty() {
        true => "none at all".to_owned(),
        false => known.join(", "),
    };
    let wanted = wanted.to_owned();
    Err(InstallError::Unknown { wanted, known })
}

/// The handlers in each installed file that is a plugin.
fn installed_handlers(dir: &Path) -> Result<Vec<(String, BTreeSet<Name>)>, InstallError> {
    let listing = scan(dir).map_err(|error| reading(dir, error))?;
    let handlers = |file: String| {
        // A file that no runner accepts holds no names.
        let read = read_file(&dir.join(&file), MAX_BYTES).ok()?;
        let inspection = inspect(&read.bytes).ok()?;
        let names = inspection.handlers.into_iter().map(|h| h.name);
        Some((file, names.collect()))
    };
    Ok(listing.files.into_keys().filter_map(handlers).collect())
}

/// Serializes deployments into one directory, because each counts the kept versions. The
/// lock is held until the file is dropped. On a file system without locks, two concurrent
/// deployments may keep one version less; a partial file is impossible either way.
fn lock_directory(dir: &Path) -> Result<File, InstallError> {
    let locked = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(dir)
        .map_err(|error| InstallError::writing(dir, "open", error))?;
    if let Err(error) = locked.lock() {
        tracing::debug!(dir = %dir.display(), %error, "cannot lock the directory; concurrent deployments are not serialized");
    }
    Ok(locked)
}
