//! Handles tasks whose rows the server cannot return: bytes that are not valid text in a
//! database without an encoding, or a damaged TOAST value. Each is logged and excluded from the
//! claims of this process, so that the other tasks of its lane run. An unreadable claim of a
//! lost runner is excluded as well, so that the others are rescued.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;

use super::claim::Claimed;
use super::connection::Role;
use super::session::Lease;
use super::sql::sql;
use super::{Lanes, Store, StoreError};
use pgtq_task::RunnerId;

/// Character not in the repertoire, untranslatable character, data or index corrupted.
const CODES: [&str; 4] = ["22021", "22P05", "XX001", "XX002"];
/// Maximum excluded tasks; with more, claims fail until the database is repaired.
const MOST: usize = 1_000;
/// After this time a task is tried again: an admin may have repaired it.
const FORGET: Duration = Duration::from_secs(600);

/// With at most this many tasks, each is read separately.
const FEW: u32 = 8;
/// Maximum searches in one claim.
const MOST_LOOKS: usize = 20;

/// The tasks, or the claims, that are unreadable for this process.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<BTreeMap<i64, Instant>>);

impl Unreadable {
    pub(super) fn ids(&self) -> Vec<i64> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            return Vec::new();
        }
        found.retain(|_, since| since.elapsed() < FORGET);
        found.keys().copied().collect()
    }

    /// False: there are too many already.
    pub(super) fn add(&self, id: i64) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = found.len() < MOST;
        if fits {
            found.insert(id, Instant::now());
        }
        fits
    }
}

/// The server's log has the reason.
pub(super) fn log_unreadable_claim(claim: i64) {
    tracing::error!(
        claim,
        "the tasks of this claim cannot be read and stay in it; other claims are rescued. Repair its row in claims, or delete it and push its tasks again"
    );
}

impl Lease<'_> {
    /// Whether the last statement failed because a row is unreadable.
    pub(super) fn met_unreadable(&self) -> bool {
        self.code().is_some_and(|code| CODES.contains(&code))
    }
}

impl Store {
    /// Claims, if necessary without the unreadable tasks: after such an error it tries fewer
    /// tasks each time, and reads a few of them one by one to find the cause.
    pub(super) async fn take(
        &self,
        runner: RunnerId,
        lanes: &mut Lanes,
        want: u32,
        than: Option<i32>,
    ) -> Result<Option<Claimed>, StoreError> {
        let mut lease = self.lease(Role::Claim, "claim tasks").await?;
        let lease = &mut lease;
        let mut fewer = want;
        let mut n_looks = 0;
        loop {
            let error = match self.take_once(lease, runner, lanes, fewer, than).await {
                Err(error) if lease.met_unreadable() => error,
                taken => return taken,
            };
            if fewer > FEW {
                fewer /= 4;
            } else if n_looks < MOST_LOOKS && self.exclude_unreadable(lease, lanes, fewer).await? {
                n_looks += 1;
                fewer = want;
            } else {
                return Err(error);
            }
        }
    }

    /// Excludes the unreadable tasks among the first candidates of a claim. False: there are too
    /// many.
    async fn exclude_unreadable(
        &self,
        lease: &mut Lease<'_>,
        lanes: &mut Lanes,
        few: u32,
    ) -> Result<bool, StoreError> {
        let shares = lanes.shares(few);
        let few = i64::from(few) * 2;
        let queues: Vec<&str> = shares.iter().map(|s| s.key.queue.as_str()).collect();
        let handlers: Vec<&str> = shares.iter().map(|s| s.key.handler.as_str()).collect();
        let priorities: Vec<i32> = shares.iter().map(|s| s.key.priority).collect();
        let after: Vec<i64> = shares.iter().map(|s| s.after).collect();
        let known = self.unreadable().ids();
        let firsts = lease
            .query(
                sql!("claim_first"),
                &[&queues, &handlers, &priorities, &after, &known, &few],
            )
            .await?;
        for first in firsts {
            let id: i64 = first.get("id");
            let queue: String = first.get("queue");
            let handler: String = first.get("handler");
            let (priority, position): (i32, i64) = (first.get("priority"), first.get("position"));
            let place: [&(dyn ToSql + Sync); 4] = [&queue, &handler, &priority, &position];
            let reason = match lease.query(sql!("claim_read"), &place).await {
                Ok(_) => continue,
                Err(reason) if lease.met_unreadable() => reason,
                Err(other) => return Err(other),
            };
            tracing::error!(
                task = id,
                queue,
                handler,
                %reason,
                "this task cannot be read and is skipped; the other tasks of its queue run. Repair its row in runnable_tasks, or delete it: pgtq delete {id}"
            );
            if !self.unreadable().add(id) {
                tracing::error!(
                    "more than {MOST} tasks cannot be read: claims stop until the database is repaired"
                );
                return Ok(false);
            }
        }
        Ok(true)
    }
}
