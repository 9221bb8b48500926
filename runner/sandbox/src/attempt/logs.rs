//! The log lines of one attempt: cleaned, counted, limited.
//!
//! Over the limit the first half and the last half are kept: how the attempt began, and
//! how it ended. The lines between them are counted.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::value::RawValue;

use crate::attempt::account::MemoryAccount;
use crate::attempt::redact::Redactor;
use crate::attempt::stop::HostStop;
use crate::json;
use crate::text::{clean, clean_text};
use pgtq_task::{Limits, LogLevel, LogLine, LogPage, LogPageLimit, LogTail};

/// Maximum bytes of one line that are kept.
const LINE_BYTES: usize = 8 << 10;
/// Maximum bytes of structured fields on one line; larger fields are dropped.
const FIELDS_BYTES: usize = 8 << 10;
/// The cost of a kept line besides its text, so that empty lines count too.
const LINE_OVERHEAD: u64 = 16;
/// Maximum bytes of host memory that a kept line takes besides its text.
const LINE_STRUCT: u64 = 160;
/// How many times its limit a guest may write before it is stopped.
const FLOOD: u64 = 10;
/// Maximum bytes of a panic message that are kept.
const PANIC_BYTES: usize = 4 << 10;

/// The lines kept so far, and the counts of dropped ones.
#[derive(Debug)]
pub(crate) struct Logs {
    started: Instant,
    /// Charged for every line that is kept.
    account: Arc<MemoryAccount>,
    max_lines: usize,
    max_bytes: u64,
    /// The first lines, up to half of either limit.
    head: Vec<LogLine>,
    head_bytes: u64,
    /// A line did not fit into the head: it and all later ones belong to the tail.
    head_full: bool,
    /// The last lines, within what the head left of the limits.
    tail: VecDeque<LogLine>,
    tail_bytes: u64,
    /// Lines so far, kept or not: the number of the newest.
    written: u64,
    panic: Option<String>,
    stderr_panic: Option<String>,
    /// Only if there are secrets to redact.
    redactor: Option<Arc<Redactor>>,
}

impl Logs {
    pub(crate) fn new(limits: &Limits, started: Instant, account: &Arc<MemoryAccount>) -> Self {
        Logs {
            started,
            account: Arc::clone(account),
            max_lines: limits.log_lines as usize,
            max_bytes: limits.log_bytes,
            head: Vec::new(),
            head_bytes: 0,
            head_full: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
            written: 0,
            panic: None,
            stderr_panic: None,
            redactor: None,
        }
    }

    /// Redacts secrets in all lines that are written from now on.
    pub(crate) fn hide(&mut self, redactor: Option<Arc<Redactor>>) {
        self.redactor = redactor;
    }

    /// The redactor of the attempt's secrets, if it has any.
    pub(crate) fn redactor(&self) -> Option<Arc<Redactor>> {
        self.redactor.clone()
    }

    /// A text without the attempt's secrets.
    pub(crate) fn hidden<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.redactor {
            Some(redactor) => redactor.hide(text),
            None => Cow::Borrowed(text),
        }
    }

    /// Whether a text that is to be stored contains one of the attempt's secrets.
    pub(crate) fn holds_a_secret(&self, text: &str) -> bool {
        matches!(self.hidden(text), Cow::Owned(_))
    }

    /// Writes one line. Over the limit the oldest line of the tail is dropped; far over
    /// the limit the attempt is stopped.
    pub(crate) fn write(
        &mut self,
        level: LogLevel,
        message: &str,
        fields: &str,
    ) -> Result<(), HostStop> {
        if self.written >= (self.max_lines as u64).saturating_mul(FLOOD).max(FLOOD) {
            return Err(HostStop::Logs);
        }
        self.written += 1;
        // Before truncation: half a secret would not be recognised.
        let message = clean(&self.hidden(message), LINE_BYTES);
        let fields = object(&self.hidden(fields));
        self.keep(LogLine {
            at_ms: self.now_ms(),
            level,
            message,
            fields,
            dropped: None,
        });
        Ok(())
    }

    fn keep(&mut self, line: LogLine) {
        let bytes = size(&line);
        if !self.head_full {
            let fits = self.head.len() < self.max_lines.div_ceil(2)
                && self.head_bytes.saturating_add(bytes) <= self.max_bytes / 2;
            if fits && self.account.take(cost(&line)).is_ok() {
                self.head_bytes += bytes;
                self.head.push(line);
                return;
            }
            self.head_full = true;
        }
        let max_lines = self.max_lines - self.head.len();
        let max_bytes = self.max_bytes - self.head_bytes;
        // A line that does not fit still empties the tail, so that dropped lines always
        // form one gap.
        while self.tail.len() >= max_lines || self.tail_bytes.saturating_add(bytes) > max_bytes {
            let Some(oldest) = self.tail.pop_front() else {
                return;
            };
            self.tail_bytes -= size(&oldest);
            self.account.give_back(cost(&oldest));
        }
        if self.account.take(cost(&line)).is_err() {
            self.drop_tail();
            return;
        }
        self.tail_bytes += bytes;
        self.tail.push_back(line);
    }

    /// Once a line has no room, no later one is kept in the head: dropped lines always
    /// form one gap.
    fn drop_tail(&mut self) {
        for line in self.tail.drain(..) {
            self.account.give_back(cost(&line));
        }
        self.tail_bytes = 0;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// One line from stderr. Keeps the message that a panic hook prints there.
    pub(crate) fn write_stderr(&mut self, line: &str) -> Result<(), HostStop> {
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

    /// Records the message of a panic that the guest reported.
    pub(crate) fn panicked(&mut self, message: &str) {
        self.panic = Some(clean_text(&self.hidden(message), PANIC_BYTES));
    }

    /// The message of the guest's panic, if there was one.
    pub(crate) fn panic_message(&self) -> Option<&str> {
        self.panic.as_deref().or(self.stderr_panic.as_deref())
    }

    /// The kept lines, and the number of dropped ones: a line of our own replaces those.
    pub(crate) fn take(&mut self) -> (Vec<LogLine>, u64) {
        let dropped = self.n_dropped();
        let mut lines = std::mem::take(&mut self.head);
        let last = self.tail.front().or(lines.last());
        if let Some(at_ms) = last.map(|line| line.at_ms).filter(|_| dropped > 0) {
            lines.push(LogLine::gap(dropped, at_ms));
        }
        lines.extend(self.tail.drain(..));
        // Later readers find no new lines.
        self.written = 0;
        (lines, dropped)
    }

    fn n_dropped(&self) -> u64 {
        self.written - self.head.len() as u64 - self.tail.len() as u64
    }

    fn page(&self, after: u64, room: LogPageLimit) -> LogPage {
        let gap_start = self.head.len() as u64 + 1;
        let tail_start = gap_start + self.n_dropped();
        let head = (1..).zip(&self.head);
        let tail = (tail_start..).zip(&self.tail);
        let skip = |from: u64| usize::try_from((after + 1).saturating_sub(from)).unwrap_or(0);
        let mut bytes = 0;
        let lines = head
            .skip(skip(1))
            .chain(tail.skip(skip(tail_start)))
            .take(room.lines)
            .take_while(|(_, line)| {
                bytes += size(line);
                bytes <= room.bytes as u64
            })
            .map(|(number, line)| (number, line.clone()))
            .collect();
        LogPage {
            lines,
            dropped: gap_start..tail_start,
            now_ms: self.now_ms(),
        }
    }
}

/// Shared with the WASI streams, which live beside it in the store, and with the reader
/// of the log of a long-running attempt. Hardly ever contended: one guest, one thread at
/// a time, and one reader about once a second.
pub(crate) type SharedLogs = Arc<LockedLogs>;

/// The log of one attempt behind its lock.
#[derive(Debug)]
pub(crate) struct LockedLogs(Mutex<Logs>);

impl LockedLogs {
    pub(crate) fn new(logs: Logs) -> Self {
        LockedLogs(Mutex::new(logs))
    }

    /// Locks the log. A panic while it was locked leaves it usable.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogTail for LockedLogs {
    fn after(&self, after: u64, room: LogPageLimit) -> LogPage {
        self.lock().page(after, room)
    }
}

/// The host memory that a line takes.
fn cost(line: &LogLine) -> u64 {
    size(line) + LINE_STRUCT
}

/// The bytes that a line counts for.
fn size(line: &LogLine) -> u64 {
    let fields = line.fields.as_ref().map_or(0, |fields| fields.get().len());
    (line.message.len() + fields) as u64 + LINE_OVERHEAD
}

/// The fields, if they are a JSON object within the size limit.
fn object(fields: &str) -> Option<Box<RawValue>> {
    if fields.len() > FIELDS_BYTES || !fields.trim_start().starts_with('{') {
        return None;
    }
    json::check(fields).ok()?;
    serde_json::from_str(fields).ok()
}

#[cfg(test)]
mod tests;
