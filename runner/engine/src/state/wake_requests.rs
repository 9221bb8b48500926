//! When a queue group requests a notification for the next push.
//!
//! A group whose claim is empty requests one, waits, and claims again after the poll
//! interval at the latest. The first push after that notifies; later pushes do not until
//! the group asks again. A group that is notified soon after its request has steady work:
//! it then polls for some milliseconds longer before it asks, so that neither pushes nor
//! claims pay for a notification each time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgtq_store::{NamedQueues, Store};
use pgtq_task::Name;

/// A group asks as soon as a claim leaves room.
const LEAST_PATIENCE: Duration = Duration::ZERO;
/// A group that is notified soon after a request asks when it would wait this long...
const FIRST_PATIENCE: Duration = Duration::from_millis(2);
/// ...and at most this long.
const MOST_PATIENCE: Duration = Duration::from_millis(16);
/// A notification this soon after the request indicates steady work.
const SOON: Duration = Duration::from_millis(2);
/// A notification this late indicates that the steady work has ended.
const LATE: Duration = Duration::from_millis(10);
/// After a new request: a push may have come between the last claim and the request.
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// The requests of each queue group.
#[derive(Debug)]
pub(crate) struct WakeRequests(Vec<Mutex<GroupRequests>>);

#[derive(Debug)]
struct GroupRequests {
    /// The wake-up flag of its queue; `None` for any queue, and before the first request.
    flag: Option<u8>,
    asked_at: Option<Instant>,
    patience: Duration,
    n_found: u64,
    /// Queues that notifications named, for the next claim.
    named: NamedQueues,
}

impl WakeRequests {
    pub(crate) fn new(n_groups: usize) -> Self {
        let group = || {
            Mutex::new(GroupRequests {
                flag: None,
                asked_at: None,
                patience: LEAST_PATIENCE,
                n_found: 0,
                named: NamedQueues::default(),
            })
        };
        WakeRequests(std::iter::repeat_with(group).take(n_groups).collect())
    }

    fn group(&self, group: usize) -> MutexGuard<'_, GroupRequests> {
        self.0[group].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a notification if a group is about to wait long enough. Returns how long
    /// to wait, and whether the request is new: earlier pushes notified no one. A failure
    /// costs latency only.
    pub(crate) async fn prepare(
        &self,
        store: &Store,
        group: usize,
        queue: Option<&Name>,
        idle_for: Duration,
        poll_interval: Duration,
    ) -> (Duration, bool) {
        let now = Instant::now();
        if !self.group(group).must_ask(now, idle_for, poll_interval) {
            return (idle_for, false);
        }
        match store.request_wake(queue).await {
            Ok(request) => {
                let mut group = self.group(group);
                group.flag = request.flag;
                group.asked_at = Some(now);
                let wait = match request.fresh {
                    true => idle_for.min(LOOK_AGAIN),
                    false => idle_for,
                };
                (wait, request.fresh)
            }
            Err(error) => {
                tracing::debug!(%error, "could not ask for a notification; polling");
                (idle_for, false)
            }
        }
    }

    /// Records that a group was notified.
    pub(crate) fn notified(&self, group: usize) {
        self.group(group).notified(Instant::now());
    }

    /// Records that a group has claimed tasks.
    pub(crate) fn found(&self, group: usize, n_tasks: usize) {
        self.group(group).n_found += n_tasks as u64;
    }

    /// Number of tasks that a group has claimed so far.
    pub(crate) fn n_found(&self, group: usize) -> u64 {
        self.group(group).n_found
    }

    /// Registers the list in which a group's claimer receives notified queues.
    pub(crate) fn set_named(&self, group: usize, named: NamedQueues) {
        self.group(group).named = named;
    }

    /// Records that a notification named these queues.
    pub(crate) fn name<'a>(&self, group: usize, queues: impl IntoIterator<Item = &'a Name>) {
        self.group(group).named.add(queues);
    }

    /// The wake-up flag of a group's queue; `None` for any.
    pub(crate) fn flag(&self, group: usize) -> Option<u8> {
        self.group(group).flag
    }

    /// The database may have been replaced: every group asks again.
    pub(crate) fn forget(&self) {
        for group in 0..self.0.len() {
            self.group(group).asked_at = None;
        }
    }
}

impl GroupRequests {
    fn must_ask(&self, now: Instant, idle_for: Duration, poll_interval: Duration) -> bool {
        // A request may be lost: another push cleared its flag and rolled back.
        let is_old = |at: Instant| now.saturating_duration_since(at) >= poll_interval / 2;
        idle_for >= self.patience && self.asked_at.is_none_or(is_old)
    }

    fn notified(&mut self, now: Instant) {
        let Some(asked_at) = self.asked_at.take() else {
            return;
        };
        let after = now.saturating_duration_since(asked_at);
        if after < SOON {
            self.patience = (self.patience * 2).clamp(FIRST_PATIENCE, MOST_PATIENCE);
        } else if after >= LATE {
            self.patience = LEAST_PATIENCE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_soon_notified_group_polls_longer_before_it_asks() {
        let requests = WakeRequests::new(1);
        let mut group = requests.group(0);
        let mut now = Instant::now();
        assert!(group.must_ask(now, ms(0), POLL));
        group.asked_at = Some(now);
        group.notified(now + ms(1));
        for longest_poll in [2, 4, 8, 16, 16] {
            assert!(!group.must_ask(now, ms(longest_poll - 1), POLL));
            assert!(group.must_ask(now, ms(longest_poll), POLL));
            group.asked_at = Some(now);
            now += ms(1);
            group.notified(now);
        }
        // At fifty pushes a second most come later after a request.
        group.asked_at = Some(now);
        group.notified(now + ms(5));
        assert!(!group.must_ask(now, ms(15), POLL));
        group.asked_at = Some(now);
        group.notified(now + ms(10));
        assert!(group.must_ask(now, ms(0), POLL));
    }

    #[test]
    fn a_group_asks_once_per_poll_until_notified() {
        let requests = WakeRequests::new(1);
        let mut group = requests.group(0);
        let now = Instant::now();
        group.asked_at = Some(now);
        assert!(!group.must_ask(now + ms(400), POLL, POLL));
        assert!(group.must_ask(now + ms(1_000), POLL, POLL));
        group.notified(now + ms(50));
        assert!(group.must_ask(now + ms(60), POLL, POLL));
    }

    #[test]
    fn a_notification_for_another_group_changes_nothing() {
        let requests = WakeRequests::new(2);
        requests.group(1).asked_at = Some(Instant::now());
        requests.notified(0);
        assert!(requests.group(1).asked_at.is_some());
        requests.found(1, 3);
        assert_eq!((requests.n_found(0), requests.n_found(1)), (0, 3));
    }
}
