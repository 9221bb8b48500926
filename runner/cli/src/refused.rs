//! A command line that is refused: what was typed is shown, and drives no terminal.

use clap::error::{ContextKind, ContextValue};

use super::text;

/// The error with every word of the user made printable. What clap composes of such
/// words in its own colours, its tips, cannot be told apart from them and goes.
pub(super) fn printable(mut error: clap::Error) -> clap::Error {
    let shown: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| Some((kind, of_value(value)?)))
        .collect();
    if !shown.is_empty() {
        error.remove(ContextKind::Suggested);
    }
    for (kind, value) in shown {
        error.insert(kind, value);
    }
    error
}

/// `None` where nothing has to change.
fn of_value(value: &ContextValue) -> Option<ContextValue> {
    let changed = match value {
        ContextValue::String(text) => ContextValue::String(text::escaped(text)),
        ContextValue::Strings(texts) => {
            ContextValue::Strings(texts.iter().map(|text| text::escaped(text)).collect())
        }
        _ => return None,
    };
    (changed != *value).then_some(changed)
}
