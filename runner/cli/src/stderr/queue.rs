//! A bounded queue of lines between threads that must not wait and one that writes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait. A pipe holds 64 KiB more.
const MAX_BYTES: usize = 1 << 20;
/// Lines that may wait: each costs memory beside its bytes.
const MAX_LINES: usize = 8_192;
/// Frames that may wait, with lines before them.
const MAX_FRAMES: usize = 32;
/// A longer line is cut.
pub(super) const MAX_LINE: usize = 64 << 10;
/// Pause before a write is repeated on a descriptor that is full and non-blocking.
const FULL: Duration = Duration::from_millis(20);

/// How the number of dropped lines is reported.
pub(super) type Report = fn(u64) -> String;

/// A handle to the queue. Nothing here waits for the reader except
/// [`Queue::flush`], which has a time limit.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something waits to be written.
    filled: Condvar,
    /// Everything has been written or dropped.
    drained: Condvar,
    report: Report,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// The writer is in the middle of an entry.
    is_writing: bool,
    /// Lines dropped and not yet reported.
    dropped: u64,
    /// Entries that the writer is done with.
    n_written: u64,
    /// What [`State::n_written`] was when a flush timed out.
    stuck_at: Option<u64>,
    /// The last write failed: the reader is gone, or the disk is full.
    has_failed: bool,
}

impl State {
    /// Nothing is left to write, the number of dropped lines included. After a failure
    /// that number waits for the next line.
    fn is_idle(&self) -> bool {
        let has_report = self.dropped > 0 && !self.has_failed;
        self.waiting.is_empty() && !self.is_writing && !has_report
    }
}

enum Entry {
    Line(Vec<u8>),
    /// Stands where this many lines were dropped.
    Dropped(u64),
}

impl Queue {
    /// Starts the thread that writes to `sink`. Fails when no thread can be started.
    pub(super) fn start(sink: impl Write + Send + 'static, report: Report) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            report,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || writer.run(sink))?;
        Ok(Queue(shared))
    }

    /// Adds a line, with its line feed. Drops and counts it when the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let line = cut(line);
        let mut state = self.0.lock();
        let is_full = state.waiting.len() >= MAX_LINES || state.bytes + line.len() > MAX_BYTES;
        if is_full {
            state.dropped += 1;
            return;
        }
        if state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            state.waiting.push_back(Entry::Dropped(dropped));
        }
        state.bytes += line.len();
        state.waiting.push_back(Entry::Line(line));
        self.0.filled.notify_one();
    }

    /// Adds text that is worth nothing later, such as one frame of a progress bar.
    /// It is dropped, and not counted, when many lines wait.
    pub(super) fn push_frame(&self, text: &[u8]) {
        let mut state = self.0.lock();
        if state.waiting.len() < MAX_FRAMES {
            state.bytes += text.len();
            state.waiting.push_back(Entry::Line(text.to_vec()));
            self.0.filled.notify_one();
        }
    }

    /// As [`Queue::flush`], but returns at once while the reader has read nothing since
    /// an earlier wait timed out: a loop that flushes waits for it once.
    pub(super) fn flush_if_read(&self, limit: Duration) {
        let state = self.0.lock();
        let is_stuck = state.stuck_at == Some(state.n_written);
        drop(state);
        if !is_stuck {
            self.flush(limit);
        }
    }

    /// Waits until everything has been written or dropped, but not longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.0.lock();
        while !state.is_idle() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.stuck_at = Some(state.n_written);
                return;
            }
            let waited = self.0.drained.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one entry after the other, for as long as the process lives.
    fn run(&self, mut sink: impl Write) {
        loop {
            let entry = self.next();
            let (bytes, lines) = match &entry {
                Entry::Line(line) => (line.as_slice(), 1),
                Entry::Dropped(n) => (&*(self.report)(*n).into_bytes(), *n),
            };
            let written = self.write(&mut sink, bytes);
            let mut state = self.lock();
            state.is_writing = false;
            state.n_written += 1;
            state.has_failed = written.is_err();
            if written.is_err() {
                state.dropped += lines;
            }
        }
    }

    fn next(&self) -> Entry {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.waiting.pop_front() {
                if let Entry::Line(line) = &entry {
                    state.bytes -= line.len();
                }
                state.is_writing = true;
                return entry;
            }
            // After a failure the next line finds out whether the reader is back.
            if state.dropped > 0 && !state.has_failed {
                state.is_writing = true;
                return Entry::Dropped(std::mem::take(&mut state.dropped));
            }
            self.drained.notify_all();
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// `write_all`, also for a descriptor that somebody made non-blocking.
    fn write(&self, sink: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(FULL),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The line, or its beginning.
fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= MAX_LINE {
        return line.to_vec();
    }
    let text = String::from_utf8_lossy(&line[..MAX_LINE]);
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    format!("{whole}… ({} bytes)\n", line.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A reader that takes one write for each `Ok`, and is gone for each error.
    struct Reader {
        answers: Receiver<io::Result<()>>,
        read: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.answers.recv().unwrap_or(Ok(()))?;
            let _ = self.read.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn report(n: u64) -> String {
        format!("{n} dropped\n")
    }

    fn queue() -> (Queue, Sender<io::Result<()>>, Receiver<String>) {
        let (answer, answers) = channel();
        let (read, lines) = channel();
        let queue = Queue::start(Reader { answers, read }, report).expect("a thread");
        (queue, answer, lines)
    }

    fn gone() -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }

    const SOON: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn lines_beyond_the_limits_are_dropped_counted_and_reported_in_their_place() {
        for (line, fit) in [
            ("a\n".to_owned(), MAX_LINES),
            ("b".repeat(1 << 10), 1 << 10),
        ] {
            let (queue, answer, lines) = queue();
            // The writer may hold one line more, in its hands.
            for _ in 0..fit + 100 {
                queue.push(line.as_bytes());
            }
            queue.flush(SOON);
            assert!(queue.0.lock().bytes <= MAX_BYTES);
            answer.send(Ok(())).expect("the writer is there");
            assert_eq!(lines.recv_timeout(PATIENCE), Ok(line.clone()));
            let dropped = queue.0.lock().dropped;
            assert!((99..=100).contains(&dropped), "{dropped}");
            // The reader is back.
            drop(answer);
            queue.flush(PATIENCE);
            queue.push(b"later\n");
            queue.flush(PATIENCE);
            let all: Vec<String> = lines.try_iter().collect();
            let end = &all[all.len() - 2..];
            assert_eq!(end, [report(dropped), "later\n".to_owned()]);
            assert!(all[..all.len() - 2].iter().all(|one| *one == line));
        }
    }

    #[test]
    fn a_reader_that_is_gone_costs_its_lines_and_hears_how_many_when_it_is_back() {
        let (queue, answer, lines) = queue();
        for text in ["1\n", "2\n"] {
            queue.push(text.as_bytes());
            answer.send(gone()).expect("the writer is there");
        }
        // Before the third line it tries to report the two.
        answer.send(gone()).expect("the writer is there");
        queue.flush(SOON);
        drop(answer);
        queue.push(b"3\n");
        queue.flush(PATIENCE);
        queue.push(b"4\n");
        queue.flush(PATIENCE);
        let all: String = lines.try_iter().collect();
        assert!(all.ends_with("4\n"), "{all}");
        assert!(all.contains(" dropped\n"), "{all}");
    }

    #[test]
    fn a_flush_ends_in_time_though_nobody_reads() {
        let (queue, answer, _lines) = queue();
        queue.push(b"never read\n");
        queue.flush(SOON);
        assert!(!queue.0.lock().is_idle());
        // The next flush of a loop does not wait: the test would not end.
        queue.flush_if_read(Duration::from_secs(86_400));
        drop(answer);
        queue.flush(PATIENCE);
        assert!(queue.0.lock().is_idle());
        let state = queue.0.lock();
        assert_ne!(state.stuck_at, Some(state.n_written));
    }

    #[test]
    fn frames_are_dropped_and_not_counted_while_nobody_reads() {
        let (queue, answer, lines) = queue();
        for _ in 0..2 * MAX_FRAMES {
            queue.push_frame(b"frame");
        }
        queue.push(b"line\n");
        drop(answer);
        queue.flush(PATIENCE);
        let all: Vec<String> = lines.try_iter().collect();
        // One more may be in the writer's hands.
        assert!(all.len() <= MAX_FRAMES + 2, "{}", all.len());
        assert_eq!(all.last().map(String::as_str), Some("line\n"));
        assert!(!all.iter().any(|text| text.contains("dropped")));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let long = "é".repeat(MAX_LINE);
        let cut = String::from_utf8(cut(long.as_bytes())).expect("UTF-8");
        assert!(cut.len() < MAX_LINE + 40, "{}", cut.len());
        assert!(cut.ends_with("é… (131072 bytes)\n"));
    }
}
