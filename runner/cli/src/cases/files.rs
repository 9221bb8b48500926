//! The temporary directories of one case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use pgtq_task::FileGrant;

/// Limits on the number and the size of files that are read after a run.
const MAX_FILES: usize = 1_000;
const MAX_BYTES: u64 = 1 << 20;
/// Limit on the depth of directories.
const MAX_DEPTH: usize = 16;

/// A temporary directory for each directory of the sandbox.
pub(super) struct Directories {
    _root: TempDir,
    /// By path in the sandbox.
    dirs: BTreeMap<String, PathBuf>,
}

impl Directories {
    /// Creates the directories and writes the files of the case.
    pub(super) fn make(
        names: &[String],
        files: &BTreeMap<String, String>,
    ) -> Result<Directories, String> {
        let failed = |error: std::io::Error| format!("cannot create a directory: {error}");
        let root = tempfile::Builder::new()
            .prefix("pgtq-case-")
            .tempdir()
            .map_err(failed)?;
        let mut dirs = BTreeMap::new();
        for (n, name) in names.iter().enumerate() {
            let dir = root.path().join(n.to_string());
            fs::create_dir(&dir).map_err(failed)?;
            dirs.insert(name.trim_end_matches('/').to_owned(), dir);
        }
        let made = Directories { _root: root, dirs };
        for (path, text) in files {
            let place = made.place(path)?;
            let dir = place.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(dir)
                .and_then(|()| fs::write(&place, text))
                .map_err(|error| format!("cannot write the file {path}: {error}"))?;
        }
        Ok(made)
    }

    /// The path on this machine of a file in the sandbox.
    fn place(&self, path: &str) -> Result<PathBuf, String> {
        let inside = self.dirs.iter().find_map(|(name, dir)| {
            let rest = path.strip_prefix(name.as_str())?.strip_prefix('/')?;
            Some((dir, rest))
        });
        let Some((dir, rest)) = inside else {
            let known: Vec<&str> = self.dirs.keys().map(String::as_str).collect();
            return Err(match known.as_slice() {
                [] => {
                    format!("the file {path}: no directory is granted to the handler")
                }
                known => format!(
                    "the file {path} is not in a directory of the handler: {}",
                    known.join(", ")
                ),
            });
        };
        match rest.split('/').all(|part| !matches!(part, "" | "." | "..")) {
            true => Ok(dir.join(rest)),
            false => Err(format!(
                "the file {path}: write its path without `.` and `..`"
            )),
        }
    }

    /// The grants of the case: all directories are writable.
    pub(super) fn grants(&self) -> BTreeMap<String, FileGrant> {
        let grants = self.dirs.iter().map(|(name, dir)| {
            let grant = FileGrant {
                dir: dir.clone(),
                write: true,
            };
            (name.clone(), grant)
        });
        grants.collect()
    }

    /// The contents of all files, by path in the sandbox.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, dir) in &self.dirs {
            read(dir, name, 0, &mut texts);
        }
        texts
    }
}

/// Does not follow symbolic links, which plugins cannot create.
fn read(dir: &Path, name: &str, depth: usize, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if texts.len() >= MAX_FILES || depth > MAX_DEPTH {
            return;
        }
        let path = format!("{name}/{}", entry.file_name().to_string_lossy());
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => read(&entry.path(), &path, depth + 1, texts),
            Ok(meta) if meta.is_file() && meta.len() > MAX_BYTES => {
                texts.insert(path, format!("({} bytes)", meta.len()));
            }
            Ok(meta) if meta.is_file() => {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                let text = String::from_utf8(bytes);
                let text = text.unwrap_or_else(|error| {
                    format!("({} bytes, not text)", error.as_bytes().len())
                });
                texts.insert(path, text);
            }
            _ => {}
        }
    }
}
