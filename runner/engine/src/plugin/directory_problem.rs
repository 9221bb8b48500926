//! Problems of the directory as a whole, in one line for operators.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::plugin_table::MAX_SERVING;
use super::registry::Registry;
use super::scan::MAX_LISTED;

/// Number of names in one line.
const MAX_NAMED: usize = 5;

/// Why files are ignored or missing; `None` if all is well. `complete`: whether all names
/// were read. `away`: how long the plugins of a directory that was replaced by an empty
/// one keep serving. `is_cut`: whether some rejected files are not listed.
pub(super) fn of(
    complete: bool,
    away: Option<Duration>,
    too_many: &BTreeSet<String>,
    is_cut: bool,
) -> Option<String> {
    let mut lines = Vec::new();
    if let Some(keep) = away {
        lines.push(format!(
            "the directory was replaced by an empty one; what was in it is retired after {keep:?} unless it comes back"
        ));
    }
    if !complete {
        lines.push(format!(
            "more than {MAX_LISTED} names end in .wasm; those above that are ignored, and no file counts as removed"
        ));
    }
    if !too_many.is_empty() {
        lines.push(format!(
            "{} beyond the {MAX_SERVING} plugins that may serve: {}",
            match too_many.len() {
                1 => "1 file is ignored".to_owned(),
                n => format!("{n} files are ignored"),
            },
            named(too_many)
        ));
    }
    if is_cut {
        lines.push(
            "too many files are rejected to list them all; the log has named each".to_owned(),
        );
    }
    Some(lines.join("; ")).filter(|text| !text.is_empty())
}

fn named(files: &BTreeSet<String>) -> String {
    let first: Vec<&str> = files.iter().take(MAX_NAMED).map(String::as_str).collect();
    let text = first.join(", ");
    match files.len().saturating_sub(MAX_NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Shows and logs a change of it.
pub(super) fn note(registry: &Registry, dir: &Path, problem: Option<String>) {
    let before = registry.snapshot().directory_problem.clone();
    if before == problem {
        return;
    }
    let dir = dir.display();
    match &problem {
        Some(reason) => tracing::warn!(
            %dir, reason,
            "plugin directory: {reason}; loaded plugins stay in service"
        ),
        None => tracing::info!(%dir, "the plugin directory is available again"),
    }
    registry.note_problem(problem);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_named() {
        let files = |n: usize| (0..n).map(|n| format!("p{n}.wasm")).collect();
        assert_eq!(of(true, None, &files(0), false), None);
        insta::assert_snapshot!(
            [
                of(true, None, &files(1), false),
                of(true, None, &files(7), true),
                of(false, Some(Duration::from_secs(30)), &files(0), false),
            ]
            .map(Option::unwrap_or_default)
            .join("\n")
        );
    }
}
