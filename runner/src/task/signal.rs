//! The line between a runner and one attempt under way: stop it, hear of its
//! progress. Plain std, so that it can stand in the pure room.

use std::future::{Future, poll_fn};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Why an attempt is stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
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
    stop: Option<Stop>,
    waker: Option<Waker>,
    progress: Option<Progress>,
}

/// Shared by the engine (which stops, and reads progress) and the sandbox
/// (which waits, and writes progress). The lock is held for a few instructions.
#[derive(Debug, Default)]
pub struct Signal(Mutex<Inner>);

impl Signal {
    /// Asks the attempt to stop. The first reason wins.
    pub fn stop(&self, why: Stop) {
        let waker = {
            let mut inner = self.lock();
            inner.stop.get_or_insert(why);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The reason, if somebody has asked.
    pub fn asked(&self) -> Option<Stop> {
        self.lock().stop
    }

    /// Waits until somebody asks. One waiter at a time; cancel-safe.
    pub fn stopped(&self) -> impl Future<Output = Stop> + Send + '_ {
        poll_fn(|cx| {
            let mut inner = self.lock();
            match inner.stop {
                Some(why) => Poll::Ready(why),
                None => {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_wins() {
        let signal = Signal::default();
        assert_eq!(signal.asked(), None);
        signal.stop(Stop::Cancel);
        signal.stop(Stop::Interrupt);
        assert_eq!(signal.asked(), Some(Stop::Cancel));
    }
}
