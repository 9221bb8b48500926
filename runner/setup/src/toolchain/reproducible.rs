//! Builds that do not depend on where they are made.
//!
//! The same source gives the same digest in any directory and under any user,
//! and the file holds no path of the machine. Cargo and rustc do neither by
//! themselves: a script stands between them (`rustc.sh`), and afterwards the file
//! is searched, for a crate can put a path into itself (`env!("CARGO_MANIFEST_DIR")`).

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{self, Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::TARGET;
use crate::places::{self, short_hash};

const SCRIPT: &str = include_str!("rustc.sh");

/// Paths shown for one file; of a longer one this many bytes.
const MAX_SHOWN: usize = 5;
const MAX_SHOWN_BYTES: usize = 200;

/// The standard library's sources: where they are if they are installed, and the
/// name that the compiled library gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StdSources {
    path: PathBuf,
    name: String,
}

impl StdSources {
    /// Of a compiler's sysroot and its `rustc -vV`.
    pub(super) fn of(sysroot: &Path, verbose: &str) -> Self {
        let fact = |key: &str| {
            let line = verbose.lines().find_map(|line| line.strip_prefix(key));
            line.filter(|value| *value != "unknown")
        };
        let commit = fact("commit-hash: ").or(fact("release: "));
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
    /// Holds the file where there is no cache directory.
    _dir: Option<TempDir>,
}

impl Wrapper {
    /// Writes the script into the cache directory, unless it is there; where that
    /// cannot be, into a temporary directory that goes with this value.
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

    /// Makes `cargo` build through the script.
    pub(super) fn attach(&self, cargo: &mut Command, cargo_home: &Path, std: &StdSources) {
        cargo
            .env("RUSTC_WRAPPER", &self.file)
            .env("PGTQ_TARGET", TARGET)
            .env("PGTQ_CARGO_HOME", cargo_home)
            .env("PGTQ_STD_SOURCES", &std.path)
            .env("PGTQ_STD_NAME", &std.name)
            // Part of all hashes of cargo's: what was built without the script
            // in the same target directory is another file.
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
    // The script appears whole, with its mode; who has the old one open keeps it.
    unfinished.persist(&file).map_err(|failed| failed.error)?;
    Ok(file)
}

/// Where cargo keeps registries, for a command that it runs in `dir`.
pub(super) fn cargo_home(dir: &Path, given: Option<&str>) -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let named = given
        .map(PathBuf::from)
        .or_else(|| env::var_os("CARGO_HOME").map(PathBuf::from))
        .filter(|named| !named.as_os_str().is_empty());
    dir.join(named.or_else(home).unwrap_or_default())
}

/// The texts in a built file that begin with one of `paths` of this machine.
pub(super) fn paths_in(file: &[u8], paths: &BTreeSet<PathBuf>) -> Vec<String> {
    let known: Vec<&[u8]> = paths
        .iter()
        // `/` alone, and `/src` of a container, which many texts begin with.
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
    fn paths_of_this_machine_are_found_in_a_file() {
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
    fn sources_of_the_library_have_the_compilers_name_for_them() {
        let sysroot = Path::new("/usr");
        for (verbose, name) in [
            ("release: 1.95.0\ncommit-hash: 5980\n", "/rustc/5980"),
            ("release: 1.95.0\ncommit-hash: unknown\n", "/rustc/1.95.0"),
        ] {
            assert_eq!(StdSources::of(sysroot, verbose).name, name);
        }
    }
}
