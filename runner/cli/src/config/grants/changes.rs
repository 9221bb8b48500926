//! Describes the changes between two grant books for the log, without values.

use std::collections::BTreeSet;

use pgtq_task::{Grant, GrantBook};

/// One line for each changed plugin and secret.
pub fn changes(old: &GrantBook, new: &GrantBook) -> Vec<String> {
    let mut lines = Vec::new();
    for plugin in old
        .plugins
        .keys()
        .chain(new.plugins.keys())
        .collect::<BTreeSet<_>>()
    {
        let nothing = Grant::default();
        let (before, after) = (old.plugins.get(plugin), new.plugins.get(plugin));
        let differing = differing(
            before.map_or(&nothing, AsRef::as_ref),
            after.map_or(&nothing, AsRef::as_ref),
        );
        if differing.is_empty() {
            continue;
        }
        let what = differing.join(", ");
        lines.push(match (before, after) {
            (None, _) => format!("plugin `{plugin}` was granted {what}"),
            (_, None) => format!("all grants of plugin `{plugin}` were revoked: {what}"),
            _ => format!("grants of plugin `{plugin}` changed: {what}"),
        });
    }
    for name in old
        .secrets
        .keys()
        .chain(new.secrets.keys())
        .collect::<BTreeSet<_>>()
    {
        match (old.secrets.get(name), new.secrets.get(name)) {
            (None, _) => lines.push(format!("secret `{name}` now has a value")),
            (_, None) => lines.push(format!("secret `{name}` no longer has a value")),
            (before, after) if before != after => {
                lines.push(format!("the value of secret `{name}` changed"));
            }
            _ => {}
        }
    }
    lines
}

/// The capabilities in which two grants differ.
fn differing(old: &Grant, new: &Grant) -> Vec<&'static str> {
    [
        ("http", old.http != new.http),
        ("tcp", old.tcp != new.tcp),
        ("networks", old.networks != new.networks),
        ("sql", old.sql != new.sql),
        ("secrets", old.secrets != new.secrets),
        ("files", old.files != new.files),
        ("push", old.push != new.push),
        ("limits", old.limits != new.limits),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
