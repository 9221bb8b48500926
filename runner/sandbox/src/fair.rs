//! A semaphore that shares its permits fairly among plugins.
//!
//! Connections, open files and name lookups are scarce, and all plugins of a process
//! share them. A plugin may take another permit only while it holds fewer than are free,
//! so that a single plugin holds less than half of them and leaves the next one half of
//! the rest (switches share their buffers among ports in this way, "dynamic thresholds").
//! An eighth of the permits is reserved for plugins that hold none: such a plugin never
//! waits for permits of others, however long they hold them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The permits that plugins share. Waiters of one plugin are served in order.
#[derive(Debug)]
pub(super) struct FairSemaphore {
    state: Mutex<FairState>,
}

#[derive(Debug)]
struct FairState {
    free: usize,
    /// Of the free permits, those reserved for plugins that hold none.
    reserved: usize,
    /// By plugin; no entry is zero.
    held: HashMap<Arc<str>, usize>,
    /// In the order of arrival.
    waiting: BTreeMap<u64, (Arc<str>, oneshot::Sender<FairPermit>)>,
    next: u64,
}

/// One permit of one plugin. Dropping it passes it to the next eligible plugin.
#[derive(Debug)]
pub(super) struct FairPermit {
    /// `None` once it was released.
    of: Option<(Arc<FairSemaphore>, Arc<str>)>,
}

impl FairState {
    fn may_take(&self, plugin: &str) -> bool {
        match self.held.get(plugin) {
            None => self.free > 0,
            Some(held) => *held < self.free.saturating_sub(self.reserved),
        }
    }

    fn take(&mut self, plugin: &Arc<str>) {
        self.free -= 1;
        *self.held.entry(Arc::clone(plugin)).or_default() += 1;
    }

    fn release(&mut self, plugin: &str) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(plugin) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(plugin);
            }
        }
    }
}

impl FairSemaphore {
    /// With this number of permits, at least 1.
    pub(super) fn new(permits: usize) -> Arc<FairSemaphore> {
        Arc::new(FairSemaphore {
            state: Mutex::new(FairState {
                free: permits.max(1),
                reserved: permits / 8,
                held: HashMap::new(),
                waiting: BTreeMap::new(),
                next: 0,
            }),
        })
    }

    /// Waits for a permit until the deadline; `None` if this plugin got none by then.
    /// Cancel-safe.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        plugin: &Arc<str>,
        deadline: Instant,
    ) -> Option<FairPermit> {
        // Permits end with their attempt: one granted at the deadline itself is useless.
        if Instant::now() >= deadline {
            return None;
        }
        let (id, turn) = {
            let mut state = self.lock();
            // An earlier waiter of the same plugin would have been served already.
            if state.may_take(plugin) {
                state.take(plugin);
                drop(state);
                return Some(self.permit(plugin));
            }
            let (send, turn) = oneshot::channel();
            let id = state.next;
            state.next += 1;
            state.waiting.insert(id, (Arc::clone(plugin), send));
            (id, turn)
        };
        let _waiting = FairWaiter { of: self, id };
        timeout_at(deadline, turn).await.ok()?.ok()
    }

    fn permit(self: &Arc<Self>, plugin: &Arc<str>) -> FairPermit {
        FairPermit {
            of: Some((Arc::clone(self), Arc::clone(plugin))),
        }
    }

    fn release(self: &Arc<Self>, plugin: &str) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            state.release(plugin);
            while let Some(id) = state.next_in_turn() {
                let (plugin, send) = state.waiting.remove(&id).expect("it waits");
                state.take(&plugin);
                granted.push((plugin, send));
            }
        }
        // Outside of the lock: a permit whose waiter has gone is dropped here, and
        // thereby released.
        for (plugin, send) in granted {
            drop(send.send(self.permit(&plugin)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, FairState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a plugin would get another permit without waiting.
    pub(super) fn may_take(&self, plugin: &str) -> bool {
        self.lock().may_take(plugin)
    }

    /// Number of permits that a plugin holds.
    #[cfg(test)]
    pub(super) fn held(&self, plugin: &str) -> usize {
        self.lock().held.get(plugin).copied().unwrap_or(0)
    }

    /// Number of free permits.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.lock().free
    }
}

impl FairState {
    /// The first waiter whose plugin may take a permit.
    fn next_in_turn(&self) -> Option<u64> {
        if self.free == 0 {
            return None;
        }
        let mut waiting = self.waiting.iter();
        let found = waiting.find(|(_, (plugin, _))| self.may_take(plugin));
        found.map(|(id, _)| *id)
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        if let Some((semaphore, plugin)) = self.of.take() {
            semaphore.release(&plugin);
        }
    }
}

/// A place in the queue, left on drop.
struct FairWaiter<'a> {
    of: &'a FairSemaphore,
    id: u64,
}

impl Drop for FairWaiter<'_> {
    fn drop(&mut self) {
        self.of.lock().waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(plugin: &str) -> Arc<str> {
        Arc::from(plugin)
    }

    /// As many permits as the plugin gets without waiting.
    async fn all(semaphore: &Arc<FairSemaphore>, plugin: &str) -> Vec<FairPermit> {
        let plugin = name(plugin);
        let mut permits = Vec::new();
        while semaphore.lock().may_take(&plugin) {
            let permit = semaphore.acquire(&plugin, soon()).await;
            permits.push(permit.expect("it may take one"));
        }
        permits
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn a_plugin_without_a_permit_always_gets_one() {
        let semaphore = FairSemaphore::new(512);
        let mut held = Vec::new();
        for n in 0..64 {
            let plugin = format!("greedy-{n}");
            let got = all(&semaphore, &plugin).await;
            assert!(!got.is_empty(), "{plugin} got none");
            held.push(got);
        }
        let counts: Vec<usize> = held.iter().map(Vec::len).take(4).collect();
        assert_eq!(counts, [224, 112, 56, 28]);
        assert!(!all(&semaphore, "late").await.is_empty());
    }

    #[tokio::test]
    async fn all_permits_are_released_in_the_end() {
        let semaphore = FairSemaphore::new(9);
        let first = all(&semaphore, "a").await;
        assert_eq!(
            (first.len(), semaphore.held("a"), semaphore.free()),
            (4, 4, 5)
        );
        let second = all(&semaphore, "b").await;
        assert_eq!((second.len(), semaphore.free()), (2, 3));
        drop((first, second));
        assert_eq!((semaphore.held("a"), semaphore.free()), (0, 9));
        assert!(semaphore.lock().held.is_empty());
    }

    #[tokio::test]
    async fn a_released_permit_goes_to_the_first_eligible_waiter() {
        let semaphore = FairSemaphore::new(2);
        let mut a = all(&semaphore, "a").await;
        let b = all(&semaphore, "b").await;
        assert_eq!((a.len(), b.len()), (1, 1));
        let more = tokio::spawn({
            let semaphore = Arc::clone(&semaphore);
            async move { semaphore.acquire(&name("a"), soon()).await }
        });
        let new = tokio::spawn({
            let semaphore = Arc::clone(&semaphore);
            async move { semaphore.acquire(&name("c"), soon()).await }
        });
        while semaphore.lock().waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(a.pop());
        // Whichever waits first: one is free, and neither holds one now.
        let first = tokio::select! {
            got = more => got,
            got = new => got,
        };
        assert!(first.expect("no panic").is_some());
        drop(b);
    }

    #[tokio::test]
    async fn cancelled_waiters_keep_no_permit() {
        let semaphore = FairSemaphore::new(1);
        let held = all(&semaphore, "a").await;
        let deadline = Instant::now() + Duration::from_millis(1);
        assert!(semaphore.acquire(&name("b"), deadline).await.is_none());
        assert!(semaphore.lock().waiting.is_empty());
        assert!(
            semaphore
                .acquire(&name("b"), Instant::now())
                .await
                .is_none()
        );
        drop(held);
        assert_eq!(semaphore.free(), 1);
        assert!(semaphore.acquire(&name("b"), soon()).await.is_some());
    }
}
