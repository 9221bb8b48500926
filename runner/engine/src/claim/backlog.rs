//! Claimed tasks that no slot has started yet.
//!
//! A queue behind a mutex, with a semaphore that counts its entries: slots wait on the
//! semaphore and never spin. The claimer bounds the size, because it never claims more
//! than its target. Time is bounded too: the target follows from past measurements, so a
//! task that no slot has started within a second is released.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use crate::state::claimed_task::ClaimedTask;
use pgtq_store::Paused;
use pgtq_task::Task;

/// How long a claimed task waits for a slot before it is released.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(1);

/// The waiting tasks of one queue group.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Mutex<VecDeque<ClaimedTask>>,
    n_waiting: Semaphore,
    n_running: AtomicUsize,
    n_done: AtomicU64,
    /// The claimer is woken when at most this many tasks wait.
    low: AtomicUsize,
    /// What is paused, as of the claimer's last check.
    paused: RwLock<Paused>,
    /// Notified when a slot took or finished a task and few are left: there may be room
    /// for another claim.
    pub(crate) room_freed: Notify,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Backlog {
            waiting: Mutex::default(),
            n_waiting: Semaphore::new(0),
            n_running: AtomicUsize::new(0),
            n_done: AtomicU64::new(0),
            low: AtomicUsize::new(0),
            paused: RwLock::default(),
            room_freed: Notify::new(),
        }
    }

    /// Adds claimed tasks by priority: before waiting tasks that are less urgent, behind
    /// the others.
    pub(crate) fn extend(&self, tasks: impl IntoIterator<Item = ClaimedTask>) {
        let n_added = {
            let mut waiting = self.lock();
            let n_before = waiting.len();
            for claimed in tasks {
                let priority = claimed.task.priority;
                match waiting.back() {
                    Some(last) if last.task.priority > priority => {
                        let at = waiting.partition_point(|t| t.task.priority <= priority);
                        waiting.insert(at, claimed);
                    }
                    _ => waiting.push_back(claimed),
                }
            }
            waiting.len() - n_before
        };
        self.n_waiting.add_permits(n_added);
    }

    /// Removes the waiting tasks that meet a condition and returns them in order.
    pub(crate) fn remove_if(
        &self,
        mut condition: impl FnMut(&ClaimedTask) -> bool,
    ) -> Vec<ClaimedTask> {
        let mut waiting = self.lock();
        let mut removed = Vec::new();
        for _ in 0..waiting.len() {
            let Some(next) = waiting.pop_front() else {
                break;
            };
            match condition(&next) {
                true => removed.push(next),
                false => waiting.push_back(next),
            }
        }
        // A slot that holds a permit for one of these finds an empty queue and waits
        // again.
        self.n_waiting.forget_permits(removed.len());
        removed
    }

    /// The claim time of the task that has waited longest and the priority of the least
    /// urgent task; `None` if no task waits.
    pub(crate) fn waits(&self) -> Option<(Instant, i32)> {
        let waiting = self.lock();
        let oldest = waiting.iter().map(|claimed| claimed.since).min()?;
        Some((oldest, waiting.back()?.task.priority))
    }

    /// Records what is paused: slots release such tasks.
    pub(crate) fn set_paused(&self, paused: &Paused) {
        let is_same = *self.paused.read().unwrap_or_else(PoisonError::into_inner) == *paused;
        if !is_same {
            *self.paused.write().unwrap_or_else(PoisonError::into_inner) = paused.clone();
        }
    }

    /// Whether tasks of this queue and handler are paused.
    pub(crate) fn is_paused(&self, task: &Task) -> bool {
        let paused = self.paused.read().unwrap_or_else(PoisonError::into_inner);
        paused.holds(task.queue.as_str(), task.handler.as_str())
    }

    /// The next task; `None` once the backlog is closed. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<ClaimedTask> {
        loop {
            self.n_waiting.acquire().await.ok()?.forget();
            let next = self.lock().pop_front();
            if next.is_some() {
                self.n_running.fetch_add(1, Relaxed);
                self.wake_claimer();
                return next;
            }
        }
    }

    /// Called when a slot has finished a task from [`Backlog::next`].
    pub(crate) fn done(&self) {
        self.n_running.fetch_sub(1, Relaxed);
        self.n_done.fetch_add(1, Relaxed);
        self.wake_claimer();
    }

    /// Wakes the claimer only when at most this many tasks wait; woken for every task, it
    /// would do little else.
    pub(crate) fn wake_below(&self, low: usize) {
        self.low.store(low, SeqCst);
    }

    fn wake_claimer(&self) {
        if self.n_waiting.available_permits() <= self.low.load(SeqCst) {
            self.room_freed.notify_one();
        }
    }

    /// Number of tasks that slots hold now.
    pub(crate) fn n_running(&self) -> usize {
        self.n_running.load(Relaxed)
    }

    /// Number of tasks that slots have finished since the start; the group's throughput
    /// is computed from it.
    pub(crate) fn n_done(&self) -> u64 {
        self.n_done.load(Relaxed)
    }

    /// Closes the backlog: slots end, and the tasks that were never started are returned.
    pub(crate) fn close(&self) -> Vec<ClaimedTask> {
        self.n_waiting.close();
        self.lock().drain(..).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<ClaimedTask>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::state::held_bytes::HeldBytesGuard;
    use pgtq_task::{ClaimId, Name, TaskId};

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
            traits: None,
        }
    }

    fn claimed(id: i64, priority: i32) -> ClaimedTask {
        let task = Task {
            priority,
            ..task(id)
        };
        ClaimedTask {
            claim: ClaimId(1),
            task: Arc::new(task),
            held: HeldBytesGuard::default(),
            since: Instant::now(),
        }
    }

    fn ids(claimed: &[ClaimedTask]) -> Vec<i64> {
        claimed.iter().map(|claimed| claimed.task.id.0).collect()
    }

    #[tokio::test]
    async fn an_urgent_task_starts_before_waiting_tasks() {
        let backlog = Backlog::new();
        backlog.extend([claimed(1, 0), claimed(2, 0), claimed(3, 5)]);
        backlog.extend([claimed(4, -5), claimed(5, 0)]);
        assert_eq!(backlog.waits().expect("five wait").1, 5);
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(backlog.next().await.expect("a task").task.id.0);
        }
        assert_eq!(order, [4, 1, 2, 5, 3]);
        assert!(backlog.waits().is_none());
    }

    #[tokio::test]
    async fn removed_tasks_start_in_no_slot() {
        let backlog = Backlog::new();
        backlog.extend((1..=4).map(|id| claimed(id, 0)));
        let gone = backlog.remove_if(|claimed| claimed.task.id.0 % 2 == 0);
        assert_eq!(ids(&gone), [2, 4]);
        let left = [backlog.next().await, backlog.next().await].map(|t| t.expect("a task"));
        assert_eq!(ids(&left), [1, 3]);
        assert!(backlog.next().now_or_never().is_none());
        assert_eq!(backlog.n_running(), 2);
    }

    #[tokio::test]
    async fn the_claimer_is_woken_only_when_few_tasks_wait() {
        let backlog = Backlog::new();
        backlog.wake_below(1);
        backlog.extend((1..=3).map(|id| claimed(id, 0)));
        backlog.next().await.expect("a task");
        assert!(
            backlog.room_freed.notified().now_or_never().is_none(),
            "two wait"
        );
        backlog.next().await.expect("a task");
        assert!(
            backlog.room_freed.notified().now_or_never().is_some(),
            "one waits"
        );
        backlog.wake_below(0);
        backlog.done();
        assert!(backlog.room_freed.notified().now_or_never().is_none());
        backlog.next().await.expect("a task");
        backlog.done();
        assert!(backlog.room_freed.notified().now_or_never().is_some());
    }
}
