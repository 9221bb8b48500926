//! What any runner does now and then for all: promote, rescue, prune.

use std::time::Duration;

use super::{Store, StoreError};

/// What [`Store::promote`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promoted {
    /// Tasks that became runnable.
    pub count: u64,
    /// Until the next one is due; zero when more are due now; `None` when nothing is scheduled.
    pub next_due: Option<Duration>,
}

/// What [`Store::rescue`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rescued {
    /// Runners whose lease had run out: id and name.
    pub runners: Vec<(i64, String)>,
    /// Tasks made runnable again.
    pub tasks: u64,
    /// Tasks failed because too many runners died under them.
    pub failed: u64,
    /// Tasks cancelled because somebody had asked for it.
    pub cancelled: u64,
}

/// What [`Store::prune`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Partitions made ahead.
    pub created: u64,
    /// Partitions dropped.
    pub dropped: u64,
    /// Rows deleted one by one: old keys, and history without a partition.
    pub rows: u64,
}

impl Store {
    /// Makes up to `limit` due tasks runnable.
    pub async fn promote(&self, _limit: u32) -> Result<Promoted, StoreError> {
        todo!()
    }

    /// Takes back the claims of runners whose lease ran out, and expired
    /// `pop` claims.
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        todo!()
    }

    /// Makes the next days' partitions and drops what is older than `retention`.
    pub async fn prune(&self, _retention: Duration) -> Result<Pruned, StoreError> {
        todo!()
    }
}
