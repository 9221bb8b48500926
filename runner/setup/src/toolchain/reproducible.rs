//! Reproducible builds.
//!
//! The same source gives the same digest in any directory and for any user, and the file
//! contains no local paths. Cargo and rustc alone do not guarantee this: cargo calls rustc
//! through a script (`rustc.sh`). Afterwards the file is searched for paths that the
//! script cannot remove, such as `env!("CARGO_MANIFEST_DIR")`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{self, Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::target::TARGET;
use crate::places::{self, short_hash};

const SCRIPT: &str = include_str!("rustc.sh");

/// The maximum number of paths reported for a file, and bytes of a path.
const MAX_SHOWN: usize = 5;
const MAX_SHOWN_BYTES: usize = 200;

/// The sources of the standard library: their path if installed, and their path in the
/// compiled library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StdSources {
    path: PathBuf,
    name: String,
}

impl StdSources {
    /// From the sysroot and the output of `rustc -vV`.
    pub(super) fn of(sysroot: &Path, verbose: &str) -> Self {
        let value = |key: &str| {
            let line = verbose.lines().find_map(|line| line.strip_prefix(key));
            line.filter(|value| *value != "unknown")
        };
        let commit = value("commit-hash: ").or(value("release: "));
        StdSources {
            path: sysroot.join("lib/rustlib/src/rust"),
            name: format!("/rustc/{}", commit.unwrap_or("unknown")),
        }
    }
}

/// The script on disk.
#[derive(Debug)]
pub(super) struct Wrapper {
    file: PathBuf,
    /// The directory of the file, if there is no cache directory.
    _dir: Option<TempDir>,
}

impl Wrapper {
    /// Writes the script to the cache directory, unless it exists, or else to a temporary
    /// directory, removed when this value is dropped.
    pub(super) fn write() -> io::Result<Self> {
        let name = format!("rustc-{}.sh", short_hash(SCRIPT));
        if let Some(dir) = places::cache_dir()
            && let Ok(file) = written(&dir, &name)
        {
            return Ok(Wrapper { file, _dir: None });
        }
        let dir = TempDir::with_prefix("pgtq-build-")?;
        Ok(Wrapper {
            file: written(dir.path(), &name)?,
            _dir: Some(dir),
        })
    }

    /// Makes `cargo` call rustc through the script.
    pub(super) fn attach(&self, cargo: &mut Command, cargo_home: &Path, std: &StdSources) {
        cargo
            .env("RUSTC_WRAPPER", &self.file)
            .env("PGTQ_TARGET", TARGET)
            .env("PGTQ_CARGO_HOME", cargo_home)
            .env("PGTQ_STD_SOURCES", &std.path)
            .env("PGTQ_STD_NAME", &std.name)
            // Part of cargo's hashes, so that files built without the script are not
            // reused.
            .env("__CARGO_DEFAULT_LIB_METADATA", short_hash(SCRIPT));
    }
}

fn written(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = path::absolute(dir)?;
    let file = dir.join(name);
    if fs::read_to_string(&file).is_ok_and(|text| text == SCRIPT) {
        return Ok(file);
    }
    fs::create_dir_all(&dir)?;
    let mut unfinished = tempfile::NamedTempFile::new_in(&dir)?;
    io::Write::write_all(&mut unfinished, SCRIPT.as_bytes())?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(unfinished.path(), mode)?;
    // Atomic: the script appears complete and with its mode.
    unfinished.persist(&file).map_err(|failed| failed.error)?;
    Ok(file)
}

/// The cargo home, with the registries, for a command in `dir`.
pub(super) fn cargo_home(dir: &Path, given: Option<&str>) -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let named = given
        .map(PathBuf::from)
        .or_else(|| env::var_os("CARGO_HOME").map(PathBuf::from))
        .filter(|named| !named.as_os_str().is_empty());
    dir.join(named.or_else(home).unwrap_or_default())
}

/// The strings in a built file that begin with one of the local `paths`.
pub(super) fn paths_in(file: &[u8], paths: &BTreeSet<PathBuf>) -> Vec<String> {
    let known: Vec<&[u8]> = paths
        .iter()
        // Not `/`, or `/src` of a container: too many strings begin with these.
        .filter(|path| path.components().count() > 2)
        .map(|path| path.as_os_str().as_encoded_bytes())
        .collect();
    let mut found = BTreeSet::new();
    for (at, _) in file.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let rest = &file[at..];
        if known.iter().any(|path| rest.starts_with(path)) {
            let is_path = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'`:".contains(byte);
            let text = rest.iter().take(MAX_SHOWN_BYTES).take_while(is_path);
            found.insert(text.map(|byte| char::from(*byte)).collect::<String>());
        }
        if found.len() == MAX_SHOWN {
            break;
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_found_in_a_file() {
        let known = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let file =
            b"\0\x05/home/ada/shop/mail.html\xff/cargo/registry/x \"/home/ada/shop\" /app/v1\0";
        assert_eq!(
            paths_in(file, &known(&["/home/ada/shop", "/opt/cargo", "/app", "/"])),
            ["/home/ada/shop", "/home/ada/shop/mail.html"]
        );
        assert!(paths_in(file, &known(&["/home/bob"])).is_empty());
    }

    #[test]
    fn the_path_of_the_standard_library_has_the_commit_or_the_release() {
        let sysroot = Path::new("/usr");
        for (verbose, name) in [
            ("release: 1.95.0\ncommit-hash: 5980\n", "/rustc/5980"),
            ("release: 1.95.0\ncommit-hash: unknown\n", "/rustc/1.95.0"),
        ] {
            assert_eq!(StdSources::of(sysroot, verbose).name, name);
        }
    }
}
