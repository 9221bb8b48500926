//! Names of plugin files.

use pgtq_task::is_unprintable;

/// The operator's name for a plugin: its file's name without the extension.
pub(super) fn plugin_name(file: &str) -> &str {
    file.strip_suffix(".wasm").unwrap_or(file)
}

/// Whether a file of this name can be a plugin: `*.wasm`, not a leftover of an editor or
/// a copying program (those are hidden or have another extension), and safe to print,
/// because logs, tables and terminals show it.
pub(super) fn is_plugin_name(name: &str) -> bool {
    looks_like_plugin(name) && !name.contains(is_unprintable)
}

/// Whether a name ends in `.wasm` and is not hidden.
pub(super) fn looks_like_plugin(name: &str) -> bool {
    !name.starts_with('.')
        && !name.contains('/')
        && name.len() > ".wasm".len()
        && name.ends_with(".wasm")
}

/// The name with a replacement character for each control character.
pub(super) fn printable(name: &str) -> String {
    name.replace(is_unprintable, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_editors_and_copies_are_not_plugins() {
        for name in ["a.wasm", "a.b.wasm", "A-1.wasm"] {
            assert!(is_plugin_name(name), "{name}");
        }
        for name in [
            ".wasm",
            ".a.wasm",
            ".#a.wasm",
            "a.wasm~",
            "a.wasm.tmp",
            "a.wasm.part",
            ".a.wasm.swp",
            "a.wasm.swp",
            "4913",
            "a.wat",
            "a.WASM.bak",
            "a\u{1b}[31m.wasm",
            "a\n.wasm",
            "a\u{202e}.wasm",
        ] {
            assert!(!is_plugin_name(name), "{name}");
        }
    }
}
