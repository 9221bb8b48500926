//! Limits the memory and the tables of an instance, each as a sum.
//!
//! wasmtime's own `StoreLimits` applies the limit to each memory separately, so a guest
//! with four memories would get four times as much.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::attempt::account::MemoryAccount;
use crate::attempt::machine;
use crate::engine::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use pgtq_task::Limits;

/// The counters of one store.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_limit: u64,
    memory: u64,
    account: Arc<MemoryAccount>,
    /// Growth was denied: the limit causes an abort that follows.
    pub(crate) memory_refused: bool,
    /// Growth failed because this machine lacks a resource.
    pub(crate) machine_refused: Option<String>,
    table_limit: u64,
    tables: u64,
    /// The same for tables.
    pub(crate) table_refused: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, account: &Arc<MemoryAccount>) -> Self {
        Limiter {
            memory_limit: limits.memory,
            memory: 0,
            account: Arc::clone(account),
            memory_refused: false,
            machine_refused: None,
            table_limit: limits.table_elements,
            tables: 0,
            table_refused: false,
        }
    }
}

/// The sum after one part grew, if that is within the limit.
fn grown(sum: u64, current: usize, desired: usize, limit: u64) -> Option<u64> {
    let after = sum.checked_add(desired.saturating_sub(current) as u64)?;
    (after <= limit).then_some(after)
}

impl Limiter {
    fn grow_failed(&mut self, error: &wasmtime::Error) {
        self.machine_refused = machine::lacks(error);
        // Otherwise the pool has no more for one memory: the guest sees the same error.
        self.memory_refused = self.machine_refused.is_none();
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match grown(self.memory, current, desired, self.memory_limit) {
            // The module's own maximum: not caused by our limit.
            Some(_) if maximum.is_some_and(|maximum| desired > maximum) => Ok(false),
            Some(after) => {
                self.memory = after;
                self.account.set_linear(after);
                Ok(true)
            }
            None => {
                self.memory_refused = true;
                Ok(false)
            }
        }
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed(&error);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match grown(self.tables, current, desired, self.table_limit) {
            Some(_) if maximum.is_some_and(|maximum| desired > maximum) => Ok(false),
            Some(after) => {
                self.tables = after;
                Ok(true)
            }
            None => {
                self.table_refused = true;
                Ok(false)
            }
        }
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_refused = true;
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory: u64) -> Limiter {
        let limits = Limits {
            memory,
            ..Limits::default()
        };
        Limiter::new(&limits, &MemoryAccount::new(limits.host_bytes))
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = limiter(100);
        assert!(limiter.memory_growing(0, 60, None).expect("no error"));
        assert!(limiter.memory_growing(0, 40, None).expect("no error"));
        assert!(!limiter.memory_growing(60, 61, None).expect("no error"));
        assert!(limiter.memory_refused);
        assert_eq!(limiter.account.peak(), 100);
    }

    #[test]
    fn a_modules_own_maximum_is_not_blamed_on_the_limit() {
        let mut limiter = limiter(1_000);
        assert!(!limiter.memory_growing(10, 30, Some(20)).expect("no error"));
        assert!(!limiter.memory_refused);
    }
}
