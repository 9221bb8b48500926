//! Formats times, sizes and counts, and makes untrusted text safe for terminals.

use std::time::Duration;

use jiff::Timestamp;
use pgtq_task::is_unprintable;

/// Replaces control characters and bidirectional controls except line feeds and tabs, so
/// that task data cannot control a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if is_unprintable(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Escapes control characters of an argument in Rust syntax, such as `\u{1b}`.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unprintable(c) {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    shown
}

/// The styles that this program uses. None hides text or moves the cursor.
const STYLES: [&str; 13] = [
    "\x1b[0m",
    "\x1b[1m",
    "\x1b[2m",
    "\x1b[31m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[3m",
    "\x1b[34m",
    "\x1b[35m",
    "\x1b[36m",
    "\x1b[1;31m",
    "\x1b[1;33m",
    "\x1b[1;36m",
];

/// Like [`safe`], but keeps the styles of this program.
pub(crate) fn styled(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        shown.push_str(&safe(&rest[..at]));
        rest = &rest[at..];
        let style = STYLES.iter().find(|style| rest.starts_with(**style));
        let style = style.map_or("\x1b", |style| *style);
        shown.push_str(if style.len() > 1 { style } else { "\u{fffd}" });
        rest = &rest[style.len()..];
    }
    shown.push_str(&safe(rest));
    shown
}

/// JSON text for a terminal, with the same value. Escapes control characters and
/// bidirectional controls in strings as `\u009b`.
pub(crate) fn json_on_terminal(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            // Between values, because strings contain it escaped.
            '\r' => shown.push(' '),
            // All of them fit in four digits.
            c if is_unprintable(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown
}

/// Like [`safe`], on one line, truncated to `max` characters.
pub(crate) fn line(text: &str, max: usize) -> String {
    let one: String = safe(text)
        .chars()
        .map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c })
        .collect();
    if one.chars().count() <= max {
        return one;
    }
    one.chars()
        .take(max.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// `2m ago`, `in 5s`, `now`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let milliseconds = at.as_millisecond() - now.as_millisecond();
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    if distance < Duration::from_secs(1) {
        return "now".to_owned();
    }
    match milliseconds > 0 {
        true => format!("in {}", coarse(distance)),
        false => format!("{} ago", coarse(distance)),
    }
}

/// A duration in its largest unit: `45s`, `2m`, `3h`, `4d`.
pub(crate) fn coarse(duration: Duration) -> String {
    match duration.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m", s / 60),
        s @ 3_600..86_400 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A duration with three significant digits or so: `1.2 ms`, `45 µs`, `3.4 s`.
pub(crate) fn fine(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        m if m < 1_000.0 => format!("{m:.0} µs"),
        m if m < 10_000.0 => format!("{:.1} ms", m / 1e3),
        m if m < 1_000_000.0 => format!("{:.0} ms", m / 1e3),
        m if m < 100_000_000.0 => format!("{:.1} s", m / 1e6),
        m => coarse(Duration::from_secs_f64(m / 1e6)),
    }
}

/// `40 % page 17 of 40`.
pub(crate) fn progress(progress: &pgtq_task::Progress) -> String {
    let percent = (progress.fraction * 100.0).floor();
    let text = format!("{percent} % {}", line(&progress.message, 200));
    text.trim_end().to_owned()
}

/// `1.2 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        n if n < 1024.0 => format!("{n:.0} B"),
        n if n < 1024.0 * 1024.0 => format!("{:.1} KiB", n / 1024.0),
        n if n < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", n / (1024.0 * 1024.0)),
        n => format!("{:.1} GiB", n / (1024.0 * 1024.0 * 1024.0)),
    }
}

/// A count with grouped digits: `12 345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2 tasks`.
pub(crate) fn tasks(n: u64) -> String {
    format!("{} task{}", count(n), if n == 1 { "" } else { "s" })
}

/// RFC 3339 in UTC.
pub(crate) fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}
