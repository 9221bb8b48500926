//! Files whose load may have failed through a fault of this machine, until they are
//! retried.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::ready_file::ReadyFile;

/// The pause doubles up to this, so that a file that always exhausts the compiler's
/// minute uses at most one minute of every fifteen.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// One pause per file.
#[derive(Default)]
pub(super) struct PendingRetries(HashMap<String, PendingRetry>);

struct PendingRetry {
    ready: ReadyFile,
    until: Instant,
    length: Duration,
    /// It was returned for another try, which has not ended yet.
    over: bool,
}

impl PendingRetries {
    /// Begins a pause, twice as long as the previous one, if any.
    pub(super) fn begin(&mut self, ready: ReadyFile, first: Duration, now: Instant) {
        let before = self.0.get(&ready.file).map(|pause| pause.length * 2);
        let length = before.unwrap_or(first).min(LONGEST);
        let pause = PendingRetry {
            until: now + length,
            length,
            over: false,
            ready: ready.clone(),
        };
        self.0.insert(ready.file, pause);
    }

    /// The file needs no other try, or has changed.
    pub(super) fn forget(&mut self, file: &str) {
        self.0.remove(file);
    }

    /// The files whose pause has ended, each once.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<ReadyFile> {
        let mut over = Vec::new();
        for pause in self.0.values_mut() {
            if !pause.over && pause.until <= now {
                pause.over = true;
                over.push(pause.ready.clone());
            }
        }
        over
    }

    /// When the next pause ends.
    pub(super) fn next(&self) -> Option<Instant> {
        let running = self.0.values().filter(|pause| !pause.over);
        running.map(|pause| pause.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::scan::{Seen, Stamp};

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour() {
        let begin = Instant::now();
        let mut retries = PendingRetries::default();
        let mut lengths = Vec::new();
        for _ in 0..10 {
            let ready = ReadyFile {
                file: "a.wasm".into(),
                seen: Seen::File(Stamp::nth(1)),
                unsettled: false,
            };
            retries.begin(ready, Duration::from_secs(5), begin);
            let next = retries.next().expect("a pause is running");
            lengths.push((next - begin).as_secs());
            assert!(
                retries
                    .take_ended(next - Duration::from_millis(1))
                    .is_empty()
            );
            assert_eq!(retries.take_ended(next).len(), 1);
            assert!(retries.take_ended(next).is_empty());
            assert_eq!(retries.next(), None);
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }
}
