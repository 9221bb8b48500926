//! The log lines of one attempt: cleaned, counted, capped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use super::redact::Redactor;
use super::stop::HostStop;
use crate::task::{Limits, LogLevel, LogLine};

/// The most bytes of one line that are kept.
const LINE_BYTES: usize = 8 << 10;
/// The most bytes of structured fields on one line; more is dropped.
const FIELDS_BYTES: usize = 8 << 10;
/// What a kept line costs besides its text, so that empty lines cost too.
const LINE_OVERHEAD: u64 = 16;
/// How many times its limit a guest may write before it is stopped.
const FLOOD: u64 = 10;
/// The most bytes of a panic message that are kept.
const PANIC_BYTES: usize = 4 << 10;

/// Lines kept so far, and the account of those that were not.
#[derive(Debug)]
pub(super) struct Logs {
    started: Instant,
    max_lines: u64,
    max_bytes: u64,
    lines: Vec<LogLine>,
    bytes: u64,
    written: u64,
    panic: Option<String>,
    stderr_panic: Option<String>,
    /// Only where there are secrets to hide.
    redactor: Option<Arc<Redactor>>,
}

impl Logs {
    pub(super) fn new(limits: &Limits, started: Instant) -> Self {
        Logs {
            started,
            max_lines: u64::from(limits.log_lines),
            max_bytes: limits.log_bytes,
            lines: Vec::new(),
            bytes: 0,
            written: 0,
            panic: None,
            stderr_panic: None,
            redactor: None,
        }
    }

    /// Hides secrets in all that is written from now on.
    pub(super) fn hide(&mut self, redactor: Option<Arc<Redactor>>) {
        self.redactor = redactor;
    }

    /// What hides the attempt's secrets, if it has any.
    pub(super) fn redactor(&self) -> Option<Arc<Redactor>> {
        self.redactor.clone()
    }

    /// A text without the attempt's secrets.
    pub(super) fn hidden<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.redactor {
            Some(redactor) => redactor.hide(text),
            None => Cow::Borrowed(text),
        }
    }

    /// Writes one line. Over the limit it is counted and dropped; far over
    /// the limit the attempt is stopped.
    pub(super) fn write(
        &mut self,
        level: LogLevel,
        message: &str,
        fields: &str,
    ) -> Result<(), HostStop> {
        self.written += 1;
        if self.written > self.max_lines.saturating_mul(FLOOD).max(FLOOD) {
            return Err(HostStop::Logs);
        }
        if self.lines.len() as u64 >= self.max_lines || self.bytes >= self.max_bytes {
            return Ok(());
        }
        // Before anything is cut off: half a secret would not be recognised.
        let message = clean(&self.hidden(message), LINE_BYTES);
        let fields = object(&self.hidden(fields));
        let size = message.len() + fields.as_ref().map_or(0, |fields| fields.get().len());
        let size = size as u64 + LINE_OVERHEAD;
        if self.bytes.saturating_add(size) > self.max_bytes {
            // Full: a shorter line that came later would look like a gap.
            self.bytes = self.max_bytes;
            return Ok(());
        }
        self.bytes += size;
        self.lines.push(LogLine {
            at_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            level,
            message,
            fields,
        });
        Ok(())
    }

    /// One line that came by stderr. Keeps what a panic hook prints there.
    pub(super) fn write_stderr(&mut self, line: &str) -> Result<(), HostStop> {
        let line = &*self.hidden(line).into_owned();
        match &mut self.stderr_panic {
            Some(panic) if panic.len() < PANIC_BYTES && !line.starts_with("note:") => {
                panic.push('\n');
                panic.push_str(&clean(line, PANIC_BYTES));
            }
            Some(_) => {}
            None if line.contains("panicked at ") => {
                self.stderr_panic = Some(clean(line, PANIC_BYTES));
            }
            None => {}
        }
        self.write(LogLevel::Warn, line, "")
    }

    /// Notes the message of a panic that the guest announced.
    pub(super) fn panicked(&mut self, message: &str) {
        self.panic = Some(clean_text(&self.hidden(message), PANIC_BYTES));
    }

    /// The message of the guest's panic, if there was one.
    pub(super) fn panic_message(&self) -> Option<&str> {
        self.panic.as_deref().or(self.stderr_panic.as_deref())
    }

    /// The kept lines, and how many more were dropped.
    pub(super) fn take(&mut self) -> (Vec<LogLine>, u64) {
        let lines = std::mem::take(&mut self.lines);
        let dropped = self.written.saturating_sub(lines.len() as u64);
        (lines, dropped)
    }
}

/// One line of at most `max` bytes: control characters go, white space among
/// them becomes a space, so that no guest forges a line or steers a terminal.
pub(super) fn clean(text: &str, max: usize) -> String {
    cleaned(text, max, |c| c.is_whitespace().then_some(' '))
}

/// The same, with line breaks kept: for messages that are shown by themselves.
pub(super) fn clean_text(text: &str, max: usize) -> String {
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
    line
}

/// The fields, if they are a JSON object of bearable size.
fn object(fields: &str) -> Option<Box<RawValue>> {
    if fields.len() > FIELDS_BYTES || !fields.trim_start().starts_with('{') {
        return None;
    }
    super::json::check(fields).ok()?;
    serde_json::from_str(fields).ok()
}

#[cfg(test)]
mod tests;
