//! Texts from guests and files, made safe to show: no control characters, no more than a
//! given size.

/// One line of at most `max` bytes: control characters are removed, and white space among
/// them becomes a space, so that no guest forges a line or controls a terminal.
pub(crate) fn clean(text: &str, max: usize) -> String {
    cleaned(text, max, |c| c.is_whitespace().then_some(' '))
}

/// The same, with line breaks kept: for messages that are shown separately.
pub(crate) fn clean_text(text: &str, max: usize) -> String {
    cleaned(text, max, |c| match c {
        '\n' => Some('\n'),
        c if c.is_whitespace() => Some(' '),
        _ => None,
    })
}

fn cleaned(text: &str, max: usize, instead: impl Fn(char) -> Option<char>) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = match c {
            c if c.is_control() => match instead(c) {
                Some(c) => c,
                None => continue,
            },
            c => c,
        };
        if line.len() + c.len_utf8() > max {
            line.push('…');
            break;
        }
        line.push(c);
    }
    // A text of control characters would keep its full capacity.
    if line.len() < line.capacity() / 2 {
        line.shrink_to_fit();
    }
    line
}
