//! The memory of one attempt: its guest's linear memory, and what the host keeps on its
//! behalf (log lines, child tasks, headers, buffers).
//!
//! Both are counted here, so that `peak_memory` is the memory that the attempt took from
//! the machine. Linear memory has its own limit, see [`limiter`](crate::attempt::limiter);
//! `limits.host_bytes` bounds the host's part. Not counted, because it is fixed and
//! small: the store, the stack (2 MiB), and up to 1,000 handles of some 200 bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::attempt::stop::HostStop;

/// Shared by the parts of one store that hold memory. Never contended: one guest runs on
/// one thread at a time.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    linear: AtomicU64,
    host: AtomicU64,
    peak: AtomicU64,
    host_limit: u64,
}

impl MemoryAccount {
    pub(crate) fn new(host_limit: u64) -> Arc<MemoryAccount> {
        Arc::new(MemoryAccount {
            linear: AtomicU64::new(0),
            host: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            host_limit,
        })
    }

    /// Records a new total of the guest's linear memories.
    pub(crate) fn set_linear(&self, bytes: u64) {
        self.linear.store(bytes, Relaxed);
        self.raise_peak(0);
    }

    /// Charges bytes that the host is about to keep.
    ///
    /// # Errors
    ///
    /// If the host would keep more than its limit; nothing is charged then.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), HostStop> {
        let after = self.host.load(Relaxed).saturating_add(bytes);
        if after > self.host_limit {
            return Err(HostStop::HostMemory);
        }
        self.host.store(after, Relaxed);
        self.raise_peak(0);
        Ok(())
    }

    /// Releases charged bytes that the host has dropped.
    pub(crate) fn give_back(&self, bytes: u64) {
        let left = self.host.load(Relaxed).saturating_sub(bytes);
        self.host.store(left, Relaxed);
    }

    /// As [`MemoryAccount::take`], but released when the return value is dropped.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Result<Held, HostStop> {
        self.take(bytes)?;
        Ok(Held {
            account: Arc::clone(self),
            bytes,
        })
    }

    /// Bytes that one host call may copy out of the guest: at most half of what is left,
    /// because values in lists take up to twice their size in the host.
    pub(crate) fn call_room(&self, call_bytes: u64) -> u64 {
        let left = self.host_limit.saturating_sub(self.host.load(Relaxed));
        call_bytes.min(left / 2)
    }

    /// Counts bytes that exist only during one host call.
    pub(crate) fn passed(&self, bytes: u64) {
        self.raise_peak(bytes);
    }

    /// The highest number of bytes at any one time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    fn raise_peak(&self, passing: u64) {
        let now = self.linear.load(Relaxed) + self.host.load(Relaxed) + passing;
        if now > self.peak.load(Relaxed) {
            self.peak.store(now, Relaxed);
        }
    }
}

/// Bytes that are charged until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<MemoryAccount>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bytes_are_limited_and_released() {
        let account = MemoryAccount::new(100);
        let held = account.hold(60).expect("within the limit");
        assert_eq!(account.take(41), Err(HostStop::HostMemory));
        drop(held);
        assert_eq!(account.take(100), Ok(()));
    }

    #[test]
    fn the_peak_is_the_sum_of_guest_and_host() {
        let account = MemoryAccount::new(100);
        account.set_linear(1_000);
        account.take(30).expect("within the limit");
        account.passed(7);
        account.give_back(30);
        account.set_linear(10);
        assert_eq!(account.peak(), 1_037);
    }

    #[test]
    fn a_call_may_use_half_of_the_remaining_bytes() {
        let account = MemoryAccount::new(100);
        account.take(40).expect("within the limit");
        assert_eq!(account.call_room(1_000), 30);
        assert_eq!(account.call_room(20), 20);
    }
}
