//! Characters that a terminal obeys instead of printing them.

/// Control characters (C0, C1 and DEL), and those that change the direction of writing.
/// Names of plugin files contain none, and printed text replaces them.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
