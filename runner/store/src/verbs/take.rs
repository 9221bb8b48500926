//! Claims although the server cannot return some of the tasks.

use tokio_postgres::types::ToSql;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::connect::unreadable::MOST_UNREADABLE;
use crate::sql::sql;
use crate::verbs::claim::Claimed;
use crate::verbs::lanes::Lanes;
use pgtq_task::RunnerId;

/// With at most this many tasks, each is read separately.
const FEW: u32 = 8;
/// Maximum searches in one claim.
const MOST_LOOKS: usize = 20;

impl Store {
    /// Claims, if necessary without the unreadable tasks: after such an error it tries fewer
    /// tasks each time, and reads a few of them one by one to find the cause.
    pub(crate) async fn take(
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
                    "more than {MOST_UNREADABLE} tasks cannot be read: claims stop until the database is repaired"
                );
                return Ok(false);
            }
        }
        Ok(true)
    }
}
