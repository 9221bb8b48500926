//! A bounded queue of lines between threads that must not block and one writer thread.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Limit on queued bytes. A pipe buffers 64 KiB more.
const MAX_BYTES: usize = 1 << 20;
/// Limit on queued lines, because each has overhead.
const MAX_LINES: usize = 8_192;
/// Limit on queue entries above which frames are dropped.
const MAX_FRAMES: usize = 32;
/// Longer lines are truncated.
pub(super) const MAX_LINE: usize = 64 << 10;
/// Pause before a retry on a non-blocking descriptor that is full.
const FULL: Duration = Duration::from_millis(20);

/// Formats the message about dropped lines.
pub(super) type DroppedMessage = fn(u64) -> String;

/// A handle to the queue. Only [`Queue::flush`] waits for the reader, with a time limit.
#[derive(Clone)]
pub(super) struct Queue(Arc<QueueShared>);

struct QueueShared {
    state: Mutex<QueueState>,
    /// An entry was added.
    filled: Condvar,
    /// All entries have been written or dropped.
    drained: Condvar,
    report: DroppedMessage,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// The writer is writing an entry.
    is_writing: bool,
    /// Lines dropped and not yet reported.
    dropped: u64,
    /// Entries that the writer has finished.
    n_written: u64,
    /// The value of [`QueueState::n_written`] when a flush timed out.
    stuck_at: Option<u64>,
    /// The last write failed, for example because the reader is gone or the disk is full.
    has_failed: bool,
}

impl QueueState {
    /// Whether nothing is left to write, including the number of dropped lines. After a
    /// failure, that number is written with the next line.
    fn is_idle(&self) -> bool {
        let has_report = self.dropped > 0 && !self.has_failed;
        self.waiting.is_empty() && !self.is_writing && !has_report
    }
}

enum Entry {
    Line(Vec<u8>),
    /// This many lines were dropped here.
    Dropped(u64),
}

impl Queue {
    /// Starts the thread that writes to `sink`. Fails if no thread can be started.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        report: DroppedMessage,
    ) -> io::Result<Self> {
        let shared = Arc::new(QueueShared {
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

    /// Adds a line with its line feed. Drops and counts it if the queue is full.
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

    /// Adds text that is soon obsolete, such as a frame of a progress bar. Drops it without
    /// counting if many entries are queued.
    pub(super) fn push_frame(&self, text: &[u8]) {
        let mut state = self.0.lock();
        if state.waiting.len() < MAX_FRAMES {
            state.bytes += text.len();
            state.waiting.push_back(Entry::Line(text.to_vec()));
            self.0.filled.notify_one();
        }
    }

    /// Like [`Queue::flush`], but returns immediately if the reader has read nothing since
    /// an earlier flush timed out, so that a loop of flushes waits once.
    pub(super) fn flush_if_read(&self, limit: Duration) {
        let state = self.0.lock();
        let is_stuck = state.stuck_at == Some(state.n_written);
        drop(state);
        if !is_stuck {
            self.flush(limit);
        }
    }

    /// Waits until all entries have been written or dropped, at most for `limit`.
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

impl QueueShared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes entries until the process ends.
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
            // After a failure, the next line tests whether the reader is back.
            if state.dropped > 0 && !state.has_failed {
                state.is_writing = true;
                return Entry::Dropped(std::mem::take(&mut state.dropped));
            }
            self.drained.notify_all();
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// `write_all` that also supports non-blocking descriptors.
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

/// Truncates a line that is too long.
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

    /// A reader that accepts one write for each `Ok` and fails one for each error.
    struct AnsweringReader {
        answers: Receiver<io::Result<()>>,
        read: Sender<String>,
    }

    impl Write for AnsweringReader {
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
        let queue = Queue::start(AnsweringReader { answers, read }, report).expect("a thread");
        (queue, answer, lines)
    }

    fn gone() -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }

    const SOON: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn lines_beyond_the_limits_are_dropped_and_counted_in_place() {
        for (line, fit) in [
            ("a\n".to_owned(), MAX_LINES),
            ("b".repeat(1 << 10), 1 << 10),
        ] {
            let (queue, answer, lines) = queue();
            // The writer may have taken one more line from the queue.
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
    fn lines_lost_without_a_reader_are_counted_when_it_is_back() {
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
    fn a_flush_without_a_reader_times_out() {
        let (queue, answer, _lines) = queue();
        queue.push(b"never read\n");
        queue.flush(SOON);
        assert!(!queue.0.lock().is_idle());
        // The next flush does not wait, otherwise the test would not end.
        queue.flush_if_read(Duration::from_secs(86_400));
        drop(answer);
        queue.flush(PATIENCE);
        assert!(queue.0.lock().is_idle());
        let state = queue.0.lock();
        assert_ne!(state.stuck_at, Some(state.n_written));
    }

    #[test]
    fn frames_are_dropped_uncounted_without_a_reader() {
        let (queue, answer, lines) = queue();
        for _ in 0..2 * MAX_FRAMES {
            queue.push_frame(b"frame");
        }
        queue.push(b"line\n");
        drop(answer);
        queue.flush(PATIENCE);
        let all: Vec<String> = lines.try_iter().collect();
        // The writer may have taken one more from the queue.
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
