//! Finds plugin crates and detects changes of their sources.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Directories that contain build output or no sources.
const SKIPPED: [&str; 3] = ["target", "node_modules", "samples"];
/// Limit on the depth of a directory tree.
const MAX_DEPTH: usize = 8;

/// Plugin crates or workspaces: `here` if it is a plugin crate, otherwise the plugin
/// directory if it is a workspace, otherwise each crate in it.
pub(crate) fn crates(here: &Path, plugins: &Path) -> Vec<PathBuf> {
    if is_plugin(here) {
        return vec![here.to_owned()];
    }
    if plugins.join("Cargo.toml").is_file() {
        return vec![plugins.to_owned()];
    }
    let mut found: Vec<PathBuf> = entries(plugins).filter(|dir| is_plugin(dir)).collect();
    found.sort();
    found
}

fn is_plugin(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join("Cargo.toml"))
        .is_ok_and(|text| text.contains("pgtq-sdk") && text.contains("cdylib"))
}

/// The time of the last change of a source file.
pub(crate) fn newest(dir: &Path) -> Option<SystemTime> {
    let mut newest = None;
    walk(dir, 0, &mut |path| {
        let source = path
            .extension()
            .is_some_and(|ending| ending == "rs" || ending == "toml");
        if source {
            newest = newest.max(path.metadata().and_then(|data| data.modified()).ok());
        }
    });
    newest
}

/// Calls `visit` for all files under `dir`, except hidden files and build output.
pub(crate) fn walk(dir: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    for path in entries(dir) {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        // A symbolic link can form a cycle.
        if name.starts_with('.') || path.is_symlink() {
            continue;
        }
        if !path.is_dir() {
            visit(&path);
        } else if depth < MAX_DEPTH && !SKIPPED.contains(&name.as_str()) {
            walk(&path, depth + 1, visit);
        }
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
}
