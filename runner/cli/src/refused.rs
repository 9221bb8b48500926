//! Errors of the command line parser, with control characters in the input escaped.

use clap::error::{ContextKind, ContextValue};

use super::text;

/// Escapes control characters in all quoted arguments. Removes the tips of clap in that
/// case, because they contain the arguments in clap's own styles.
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

/// Returns `None` if the value needs no change.
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
