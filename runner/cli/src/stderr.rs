//! Standard error: log lines, notes, progress and panic messages.
//!
//! A separate thread writes them from a bounded queue. So a reader that stops reading or
//! closes the pipe never blocks or ends the program. Lines that exceed the queue are
//! dropped, and their number is logged when the reader continues. All writes of this crate
//! to standard error go through this module.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::text;

mod queue;

use queue::Queue;

/// Time limit for writing the remaining lines when the process exits.
const AT_END: Duration = Duration::from_secs(1);
/// Time limit for writing earlier lines before a write to standard output.
const IN_ORDER: Duration = Duration::from_millis(100);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts the writer thread and reports panics through it. Fails if no thread can be
/// started. Without the thread, lines are written directly.
pub(crate) fn start() -> io::Result<AtEnd> {
    let end = AtEnd;
    if QUEUE.get().is_some() {
        return Ok(end);
    }
    // Not the handle of the standard library, because a blocked writer holds its lock.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let report = match logs_json() {
        true => json_report,
        false => text_report,
    };
    let _ = QUEUE.set(Queue::start(sink, report)?);
    std::panic::set_hook(Box::new(|panic| raw(panic_report(panic).as_bytes())));
    Ok(end)
}

/// Whether log lines are JSON.
pub(crate) fn logs_json() -> bool {
    std::env::var("PGTQ_LOG_FORMAT").is_ok_and(|format| format == "json")
}

/// Flushes the queue when dropped, also during a panic, for at most one second.
#[must_use]
pub(crate) struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush(AT_END);
        }
    }
}

/// Waits until earlier lines are written, so that output stays in order. Waits at most
/// 100 ms, and only once for a reader that has stopped.
pub(crate) fn in_order() {
    if let Some(queue) = QUEUE.get() {
        queue.flush_if_read(IN_ORDER);
    }
}

/// Writes text with the styles of this program, which are stripped if colors are off.
/// Replaces all other control characters. Never waits or fails.
pub(crate) fn styled(text: &str) {
    let text = text::styled(text);
    match anstream::AutoStream::choice(&io::stderr()) {
        anstream::ColorChoice::Never => {
            raw(anstream::adapter::strip_str(&text).to_string().as_bytes());
        }
        _ => raw(text.as_bytes()),
    }
}

/// Draws a frame of a progress bar, unless the reader has stopped.
pub(crate) fn frame(text: &str) {
    if let Some(queue) = QUEUE.get() {
        queue.push_frame(text.as_bytes());
    }
}

fn raw(text: &[u8]) {
    match QUEUE.get() {
        // Several lines stay together if they are not too long.
        Some(queue) if text.len() <= queue::MAX_LINE => queue.push(text),
        Some(queue) => text
            .split_inclusive(|byte| *byte == b'\n')
            .for_each(|line| queue.push(line)),
        // Before the thread runs, blocking is acceptable.
        None => drop(io::stderr().write_all(text)),
    }
}

fn dropped(n: u64) -> String {
    format!("{n} lines were dropped because standard error was not read, or too slowly")
}

fn text_report(n: u64) -> String {
    let now = Timestamp::now();
    match io::stderr().is_terminal() {
        true => format!(
            "\x1b[2m{now:.6}\x1b[0m \x1b[33m WARN\x1b[0m {}\n",
            dropped(n)
        ),
        false => format!("{now:.6}  WARN {}\n", dropped(n)),
    }
}

fn json_report(n: u64) -> String {
    let line = serde_json::json!({
        "timestamp": format!("{:.6}", Timestamp::now()), "level": "WARN",
        "fields": {"message": dropped(n), "dropped": n}, "target": module_path!(),
    });
    format!("{line}\n")
}

/// The panic message of the standard library, with a backtrace if `RUST_BACKTRACE` is set.
fn panic_report(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").to_owned();
    let place = panic
        .location()
        .map_or_else(String::new, |at| format!(" at {at}"));
    let message = panic.payload_as_str().unwrap_or("no message");
    let backtrace = std::backtrace::Backtrace::capture();
    let trace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    format!("thread '{name}' panicked{place}:\n{message}{trace}\n")
}

/// The writer of the logger, which writes each line at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match io::stderr().is_terminal() {
            true => raw(text::styled(&String::from_utf8_lossy(line)).as_bytes()),
            false => raw(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        Log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_its_location() {
        let (send, reports) = std::sync::mpsc::channel();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| drop(send.send(panic_report(panic)))));
        let caught = std::panic::catch_unwind(|| panic!("out of {}", "luck"));
        std::panic::set_hook(before);
        assert!(caught.is_err());
        // Other tests may panic at the same time.
        let report = reports
            .try_iter()
            .find(|report| report.contains("out of luck"));
        let report = report.expect("it is reported");
        assert!(
            report.contains("a_panic_is_reported_with_its_location' panicked at"),
            "{report}"
        );
        assert!(report.contains("stderr.rs:"), "{report}");
    }

    #[test]
    fn dropped_lines_are_reported_in_the_format_of_the_log() {
        let line: serde_json::Value = serde_json::from_str(&json_report(7)).expect("JSON");
        assert_eq!(line["fields"]["dropped"], 7);
        assert_eq!(line["level"], "WARN");
        assert!(text_report(7).contains("WARN"));
        assert!(text_report(7).ends_with('\n'));
    }
}
