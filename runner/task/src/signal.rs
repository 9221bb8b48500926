//! The line between a runner and one attempt under way: stop it, hear of its
//! progress, read its log. Plain std, so that it can stand in the pure room.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::LogTail;

/// How long a handler that asks whether it was cancelled may go on after it
/// was, to end by itself. Never past its deadline.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Why an attempt is stopped from outside, by urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// Somebody cancelled the task.
    Cancel,
    /// The runner is stopping and the grace time is over.
    Interrupt,
    /// The claim is lost: nothing of this attempt may be stored.
    Lost,
}

/// How far a handler says it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Progress {
    /// 0.0 to 1.0.
    pub fraction: f64,
    /// A word for people.
    pub message: String,
}

#[derive(Debug, Default)]
struct Inner {
    stop: Option<StopReason>,
    cancelled: bool,
    polls_cancelled: bool,
    waker: Option<Waker>,
    progress: Option<Progress>,
}

/// Shared by the engine (which stops, and reads) and the sandbox (which waits,
/// and writes). The lock is held for a few instructions.
#[derive(Debug, Default)]
pub struct Signal {
    inner: Mutex<Inner>,
    log: OnceLock<Arc<dyn LogTail>>,
}

impl Signal {
    /// Asks the attempt to stop. A more urgent reason replaces the one before.
    pub fn stop(&self, why: StopReason) {
        let waker = {
            let mut inner = self.lock();
            inner.cancelled |= why == StopReason::Cancel;
            inner.stop = inner.stop.max(Some(why));
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The most urgent reason, if somebody has asked.
    pub fn asked(&self) -> Option<StopReason> {
        self.lock().stop
    }

    /// Whether the task was cancelled, also if a more urgent reason came later.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Whether the task was cancelled, asked by the handler itself. A handler that has
    /// called this gets [`CANCEL_GRACE`] to finish after a cancellation.
    pub fn poll_cancelled(&self) -> bool {
        let mut inner = self.lock();
        inner.polls_cancelled = true;
        inner.cancelled
    }

    /// Whether the handler has called [`Signal::poll_cancelled`].
    pub fn polls_cancelled(&self) -> bool {
        self.lock().polls_cancelled
    }

    /// Waits until somebody asks. One waiter at a time; cancel-safe.
    pub fn stopped(&self) -> impl Future<Output = StopReason> + Send + '_ {
        self.stopped_by(StopReason::Cancel)
    }

    /// Waits for a reason at least as urgent as `least`. One waiter at a time;
    /// cancel-safe.
    pub fn stopped_by(&self, least: StopReason) -> impl Future<Output = StopReason> + Send + '_ {
        poll_fn(move |cx| {
            let mut inner = self.lock();
            match inner.stop {
                Some(why) if why >= least => Poll::Ready(why),
                _ => {
                    inner.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Notes how far the handler is; only the newest is kept.
    pub fn report(&self, progress: Progress) {
        self.lock().progress = Some(progress);
    }

    /// The newest progress, once.
    pub fn take_progress(&self) -> Option<Progress> {
        self.lock().progress.take()
    }

    /// Whether there is progress that nobody took.
    pub fn has_progress(&self) -> bool {
        self.lock().progress.is_some()
    }

    /// Lets others read the attempt's log while it runs. Only the first call counts.
    pub fn share_log(&self, log: Arc<dyn LogTail>) {
        self.log.get_or_init(|| log);
    }

    /// The attempt's log, once the sandbox has shared it.
    pub fn log(&self) -> Option<&Arc<dyn LogTail>> {
        self.log.get()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_reason_wins_and_a_cancel_is_not_forgotten() {
        let signal = Signal::default();
        assert_eq!((signal.asked(), signal.is_cancelled()), (None, false));
        signal.stop(StopReason::Interrupt);
        signal.stop(StopReason::Cancel);
        assert_eq!(signal.asked(), Some(StopReason::Interrupt));
        assert!(signal.is_cancelled());
        signal.stop(StopReason::Lost);
        assert_eq!(signal.asked(), Some(StopReason::Lost));
    }

    #[test]
    fn only_a_handler_that_asks_heeds_a_cancel() {
        let signal = Signal::default();
        signal.stop(StopReason::Cancel);
        assert!(!signal.polls_cancelled());
        assert!(signal.poll_cancelled() && signal.polls_cancelled());
    }

    #[test]
    fn of_many_reports_the_newest_is_taken_once() {
        let signal = Signal::default();
        for step in 0..1_000 {
            signal.report(Progress {
                fraction: f64::from(step) / 1_000.0,
                message: format!("step {step}"),
            });
        }
        assert!(signal.has_progress());
        let taken = signal.take_progress().map(|progress| progress.message);
        assert_eq!(taken.as_deref(), Some("step 999"));
        assert!(!signal.has_progress() && signal.take_progress().is_none());
    }
}
