//! Tasks that a claimer has taken and no slot has started.
//!
//! A plain queue behind a mutex, with a semaphore that counts what is in it:
//! slots wait on the semaphore, so nothing spins. Bounded by the claimer,
//! which never holds more than its target.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::held::Hold;
use crate::task::{ClaimId, Task};

/// A claimed task on its way to a slot.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The fence.
    pub(crate) claim: ClaimId,
    /// The task.
    pub(crate) task: Arc<Task>,
    /// Its arguments count until this is dropped.
    pub(crate) held: Hold,
}

/// One queue group's waiting tasks.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Mutex<VecDeque<Taken>>,
    n_waiting: Semaphore,
    n_running: AtomicUsize,
    n_done: AtomicU64,
    /// With no more than so many waiting, the claimer wants to hear of it.
    low: AtomicUsize,
    /// Rung when a slot took or ended a task and few wait: there may be room for
    /// another claim.
    pub(crate) taken: Notify,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Backlog {
            waiting: Mutex::default(),
            n_waiting: Semaphore::new(0),
            n_running: AtomicUsize::new(0),
            n_done: AtomicU64::new(0),
            low: AtomicUsize::new(0),
            taken: Notify::new(),
        }
    }

    /// Adds claimed tasks, in order.
    pub(crate) fn extend(&self, tasks: impl IntoIterator<Item = Taken>) {
        let n_added = {
            let mut waiting = self.lock();
            let n_before = waiting.len();
            waiting.extend(tasks);
            waiting.len() - n_before
        };
        self.n_waiting.add_permits(n_added);
    }

    /// The next task; `None` when the backlog was closed. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Taken> {
        loop {
            self.n_waiting.acquire().await.ok()?.forget();
            let next = self.lock().pop_front();
            if next.is_some() {
                self.n_running.fetch_add(1, Relaxed);
                self.ring();
                return next;
            }
        }
    }

    /// A slot is done with a task that [`Backlog::next`] gave it.
    pub(crate) fn done(&self) {
        self.n_running.fetch_sub(1, Relaxed);
        self.n_done.fetch_add(1, Relaxed);
        self.ring();
    }

    /// Has the claimer woken only when no more than so many wait: woken by every
    /// task, it would do little else.
    pub(crate) fn ring_below(&self, low: usize) {
        self.low.store(low, SeqCst);
    }

    fn ring(&self) {
        if self.n_waiting.available_permits() <= self.low.load(SeqCst) {
            self.taken.notify_one();
        }
    }

    /// Tasks that slots hold now.
    pub(crate) fn n_running(&self) -> usize {
        self.n_running.load(Relaxed)
    }

    /// Tasks that slots were done with, ever: what the group's pace is measured by.
    pub(crate) fn n_done(&self) -> u64 {
        self.n_done.load(Relaxed)
    }

    /// Closes: slots end, and what was never started comes back.
    pub(crate) fn close(&self) -> Vec<Taken> {
        self.n_waiting.close();
        self.lock().drain(..).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Taken>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::task::{Name, TaskId};

    fn task(id: i64) -> Task {
        Task {
            id: TaskId(id),
            queue: Name::default_queue(),
            handler: Name::new("a").expect("a name"),
            priority: 0,
            args: "{}".to_owned(),
            attempts: 0,
            crashes: 0,
            retries: None,
            pushed_at: jiff::Timestamp::UNIX_EPOCH,
            due_at: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            parent: None,
        }
    }

    #[tokio::test]
    async fn the_claimer_is_rung_for_only_when_few_wait() {
        let backlog = Backlog::new();
        backlog.ring_below(1);
        backlog.extend((1..=3).map(|id| Taken {
            claim: ClaimId(1),
            task: Arc::new(task(id)),
            held: Hold::default(),
        }));
        backlog.next().await.expect("a task");
        assert!(
            backlog.taken.notified().now_or_never().is_none(),
            "two wait"
        );
        backlog.next().await.expect("a task");
        assert!(
            backlog.taken.notified().now_or_never().is_some(),
            "one waits"
        );
        backlog.ring_below(0);
        backlog.done();
        assert!(backlog.taken.notified().now_or_never().is_none());
        backlog.next().await.expect("a task");
        backlog.done();
        assert!(backlog.taken.notified().now_or_never().is_some());
    }
}
