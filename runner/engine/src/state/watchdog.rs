//! Names a handler that blocks its thread: one that has been polled for seconds without
//! yielding. The sandbox bounds every guest, so this is a bug of the host or of a native
//! handler, and an operator must know.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgtq_task::Task;

/// Time between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a handler may block its thread before it is named.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state of one slot.
#[derive(Debug, Default)]
pub(crate) struct PollWatch {
    /// Counts the starts and the ends of polls: odd while a poll is running.
    polls: AtomicU64,
    task: Mutex<Option<Arc<Task>>>,
}

impl PollWatch {
    /// Runs an attempt so that the watchdog sees each of its polls. Cancel-safe if the
    /// attempt is.
    pub(crate) async fn run<T>(&self, task: &Arc<Task>, attempt: impl Future<Output = T>) -> T {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(task));
        let mut attempt = pin!(attempt);
        std::future::poll_fn(|context| {
            self.polls.fetch_add(1, Relaxed);
            let poll = attempt.as_mut().poll(context);
            self.polls.fetch_add(1, Relaxed);
            poll
        })
        .await
    }
}

/// All slots of one engine.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    slots: Mutex<Vec<Weak<PollWatch>>>,
}

/// A poll that was running at two or more checks.
struct BlockedPoll {
    polls: u64,
    since: Instant,
    named: bool,
}

impl Watchdog {
    /// Adds a slot.
    pub(crate) fn slot(&self) -> Arc<PollWatch> {
        let watch = Arc::<PollWatch>::default();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|watch| watch.strong_count() > 0);
        slots.push(Arc::downgrade(&watch));
        watch
    }

    /// Checks once a second until its future is dropped.
    pub(crate) async fn run(&self) {
        let mut seen = HashMap::new();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            self.check(&mut seen, Instant::now());
        }
    }

    fn check(&self, seen: &mut HashMap<usize, BlockedPoll>, now: Instant) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, watch) in slots.iter().enumerate() {
            let Some(watch) = watch.upgrade() else {
                continue;
            };
            let polls = watch.polls.load(Relaxed);
            let stuck = seen.entry(slot).or_insert(BlockedPoll {
                polls,
                since: now,
                named: false,
            });
            if stuck.polls == polls && polls % 2 == 1 {
                let busy = now.saturating_duration_since(stuck.since);
                if busy >= PATIENCE && !std::mem::replace(&mut stuck.named, true) {
                    log_blocked(&watch, busy);
                }
                continue;
            }
            if stuck.named {
                let seconds = now.saturating_duration_since(stuck.since).as_secs();
                tracing::warn!(seconds, "the handler that did not yield has yielded");
            }
            *stuck = BlockedPoll {
                polls,
                since: now,
                named: false,
            };
        }
    }
}

fn log_blocked(watch: &PollWatch, busy: Duration) {
    let task = watch.task.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(task) = task.as_ref() else {
        return;
    };
    tracing::error!(
        task = task.id.0,
        handler = %task.handler,
        seconds = busy.as_secs(),
        "handler `{}` has not yielded for {} s and blocks a thread of this runner: pause it with `pgtq pause --handler {}`, restart the runner, and report this as a bug of pgtq",
        task.handler,
        busy.as_secs(),
        task.handler,
    );
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;
    use pgtq_task::{Name, TaskId};

    fn task(handler: &str) -> Arc<Task> {
        Arc::new(Task {
            id: TaskId(7),
            queue: Name::default_queue(),
            handler: Name::new(handler).expect("a name"),
            priority: 0,
            args: "[]".to_owned(),
            attempts: 0,
            crashes: 0,
            retries: None,
            pushed_at: jiff::Timestamp::UNIX_EPOCH,
            due_at: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            parent: None,
            traits: None,
        })
    }

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handler_without_a_yield_for_five_seconds_is_named_once() {
        let watchdog = Watchdog::default();
        let watch = watchdog.slot();
        let slot = Arc::clone(&watch);
        let (block, blocked) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        let attempt = std::thread::spawn(move || {
            // A host call that blocks: the future's only poll lasts until the test lets
            // it go.
            let call = std::future::poll_fn(|_| {
                entered.send(()).expect("a test that waits");
                let _ = blocked.recv();
                std::task::Poll::Ready(())
            });
            futures_util::future::FutureExt::now_or_never(slot.run(&task("resize"), call))
        });
        inside.recv().expect("it was polled");

        let lines = CapturedLog::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let (mut seen, start) = (HashMap::new(), Instant::now());
            for seconds in [0, 4, 5, 6] {
                watchdog.check(&mut seen, start + Duration::from_secs(seconds));
            }
            drop(block);
            attempt.join().expect("no panic");
            watchdog.check(&mut seen, start + Duration::from_secs(8));
        });
        let said = lines.0.lock().expect("no panic").clone();
        let said = String::from_utf8(said).expect("text");
        assert_eq!(
            said.matches("handler `resize` has not yielded for 5 s")
                .count(),
            1,
            "{said}"
        );
        assert_eq!(said.matches("has yielded seconds=8").count(), 1, "{said}");
    }
}
