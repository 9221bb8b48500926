//! The channel between a runner and one running attempt: stop it, read its progress, read its
//! log. Uses only std, so that it can be in this crate.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::log::LogTail;

/// How long a handler that polls for cancellation may continue after it was cancelled, to return
/// by itself. Never past its deadline.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Why the runner stops an attempt, by urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// The task was cancelled.
    Cancel,
    /// The runner is stopping and the grace period is over.
    Interrupt,
    /// The claim is lost: no write of this attempt may be stored.
    Lost,
}

/// The progress that a handler reports.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Progress {
    /// 0.0 to 1.0.
    pub fraction: f64,
    /// A short text for humans.
    pub message: String,
}

#[derive(Debug, Default)]
struct SignalInner {
    stop: Option<StopReason>,
    cancelled: bool,
    polls_cancelled: bool,
    waker: Option<Waker>,
    progress: Option<Progress>,
}

/// Shared by the engine (which stops, and reads) and the sandbox (which waits, and writes). The
/// lock is held for a few instructions.
#[derive(Debug, Default)]
pub struct Signal {
    inner: Mutex<SignalInner>,
    log: OnceLock<Arc<dyn LogTail>>,
}

impl Signal {
    /// Asks the attempt to stop. A more urgent reason replaces the previous one.
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

    /// The most urgent reason requested so far.
    pub fn asked(&self) -> Option<StopReason> {
        self.lock().stop
    }

    /// Whether the task was cancelled, even if a more urgent reason came later.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Whether the task was cancelled; called on behalf of the handler. A handler that has
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

    /// Waits until the attempt is asked to stop. One waiter at a time; cancel-safe.
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

    /// Records the handler's progress; only the latest report is kept.
    pub fn report(&self, progress: Progress) {
        self.lock().progress = Some(progress);
    }

    /// Takes the latest progress, once.
    pub fn take_progress(&self) -> Option<Progress> {
        self.lock().progress.take()
    }

    /// Whether there is progress that was not taken yet.
    pub fn has_progress(&self) -> bool {
        self.lock().progress.is_some()
    }

    /// Makes the attempt's log readable while it runs. Only the first call has an effect.
    pub fn share_log(&self, log: Arc<dyn LogTail>) {
        self.log.get_or_init(|| log);
    }

    /// The attempt's log, once the sandbox has shared it.
    pub fn log(&self) -> Option<&Arc<dyn LogTail>> {
        self.log.get()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SignalInner> {
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
    fn only_a_polling_handler_notices_a_cancel() {
        let signal = Signal::default();
        signal.stop(StopReason::Cancel);
        assert!(!signal.polls_cancelled());
        assert!(signal.poll_cancelled() && signal.polls_cancelled());
    }

    #[test]
    fn only_the_newest_of_many_reports_is_taken() {
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
