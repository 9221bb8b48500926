//! Plugin sources on disk: which crates there are, and whether they changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Directories that a build writes to, or that hold no sources.
const SKIPPED: [&str; 3] = ["target", "node_modules", "samples"];
/// A tree deeper than this is not a plugin crate.
const MAX_DEPTH: usize = 8;

/// Plugin crates or workspaces: `here` if it is one, else the plugin
/// directory if it is a workspace, else each crate in it.
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

/// When a source of the crate changed last.
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

/// Files of the tree under `dir` for `visit`; hidden and built ones left out.
pub(crate) fn walk(dir: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    for path in entries(dir) {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        // A link may lead anywhere, also in a circle.
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
