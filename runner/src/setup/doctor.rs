//! What this machine can and cannot do, as data.

use std::path::Path;

use crate::setup::Say;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words: `postgres programs`.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it: a line to type where there is one.
    pub fix: Option<String>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing to do.
    Ok,
    /// Works, with a limit worth knowing.
    Warn,
    /// Something will fail.
    Bad,
}

/// Looks at this machine; `plugin_dir` is where a runner would watch for plugins.
/// Changes nothing. Takes under a second.
pub fn machine(plugin_dir: &Path) -> Vec<Check> {
    let _ = plugin_dir;
    Vec::new()
}

/// Installs and makes what [`machine`] found missing and can be had without a
/// question, then looks again.
pub fn fix(plugin_dir: &Path, say: Say<'_>) -> Vec<Check> {
    let _ = say;
    machine(plugin_dir)
}
