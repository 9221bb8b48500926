//! Claim: take runnable tasks for a runner.

use std::time::{Duration, Instant};

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::sql::sql;
use crate::verbs::batch;
use crate::verbs::lanes::Lanes;
use pgtq_task::{ClaimId, Name, RunnerId, Task, TaskId};

/// Maximum bytes of arguments in one claim, if it has more than one task. A rescue reads the
/// whole claim.
const CLAIM_BYTES: i64 = 8 << 20;

/// Maximum time that one claim spends on sweeps when it finds nothing else.
const MOST_LOOKING: Duration = Duration::from_secs(1);

/// A claimed batch.
#[derive(Debug)]
pub struct Claimed {
    /// The claim id that the outcome of each of these tasks must carry.
    pub claim: ClaimId,
    /// The tasks, the most urgent first.
    pub tasks: Vec<Task>,
    /// There may be more to take right now.
    pub more: bool,
}

/// Records the end of a claim call, including a dropped one.
struct Calling<'a>(&'a Store);

impl<'a> Calling<'a> {
    fn new(store: &'a Store) -> Self {
        store.live().begun += 1;
        Calling(store)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.live().ended += 1;
    }
}

impl Store {
    /// Takes up to `want` tasks of the loaded `handlers`, lowest priority number first, fairly
    /// over handlers and queues of one priority. `None` means that there is nothing to take now.
    /// Looks for new lanes and stragglers itself, within 5 % of the time, and at once after
    /// [`Lanes::wake`]. A failed sweep does not fail the claim, unless a privilege is missing.
    ///
    /// After an error, or when the future is dropped, the claim may have been committed: it is
    /// then among [`crate::verbs::beat::BeatReply::orphaned`].
    pub async fn claim(
        &self,
        runner: RunnerId,
        lanes: &mut Lanes,
        handlers: &[Name],
        want: u32,
    ) -> Result<Option<Claimed>, StoreError> {
        if handlers.is_empty() || want == 0 {
            return Ok(None);
        }
        self.ensure_outcome_and_beat_connections().await?;
        let _calling = Calling::new(self);
        let started = Instant::now();
        lanes.set_handlers(handlers);
        let mut has_swept = self.sweep_if_due(lanes, false).await?;
        loop {
            self.read_named_queues(lanes).await;
            let taking = Instant::now();
            let mut claimed = None;
            // Lanes that other claimers have emptied must not hide those after them.
            for _ in 0..lanes.n_turns() {
                claimed = self.take(runner, lanes, want, None).await?;
                if claimed.is_some() || started.elapsed() > MOST_LOOKING {
                    break;
                }
            }
            if has_swept {
                lanes.add_cost(taking.elapsed());
            }
            if claimed.is_some() || started.elapsed() > MOST_LOOKING {
                return Ok(claimed);
            }
            has_swept = self.sweep_if_due(lanes, true).await?;
            if !has_swept {
                return Ok(None);
            }
        }
    }

    /// As [`Store::claim`], for tasks more urgent than a priority. Sweeps no more often than a
    /// busy claimer does.
    pub async fn claim_urgent(
        &self,
        runner: RunnerId,
        lanes: &mut Lanes,
        want: u32,
        than: i32,
    ) -> Result<Option<Claimed>, StoreError> {
        let _calling = Calling::new(self);
        self.sweep_if_due(lanes, false).await?;
        self.read_named_queues(lanes).await;
        self.take(runner, lanes, want, Some(than)).await
    }

    /// One claim of at most `want` tasks and [`CLAIM_BYTES`], without the unreadable tasks.
    pub(crate) async fn take_once(
        &self,
        lease: &mut Lease<'_>,
        runner: RunnerId,
        lanes: &mut Lanes,
        want: u32,
        than: Option<i32>,
    ) -> Result<Option<Claimed>, StoreError> {
        let shares = lanes.shares_before(want, than);
        if shares.is_empty() {
            return Ok(None);
        }
        let queues: Vec<&str> = shares.iter().map(|s| s.key.queue.as_str()).collect();
        let handlers: Vec<&str> = shares.iter().map(|s| s.key.handler.as_str()).collect();
        let priorities: Vec<i32> = shares.iter().map(|s| s.key.priority).collect();
        let after: Vec<i64> = shares.iter().map(|s| s.after).collect();
        let most: Vec<i64> = shares.iter().map(|s| s.most).collect();
        let unreadable = self.unreadable().ids();
        let newest = self.live().newest();
        let rows = lease
            .query(
                sql!("claim"),
                &[
                    &runner.0,
                    &queues,
                    &handlers,
                    &priorities,
                    &after,
                    &most,
                    &i64::from(want),
                    &CLAIM_BYTES,
                    &unreadable,
                ],
            )
            .await?;
        // Cut at the byte limit: for the lanes, it counts as a full claim.
        let is_cut = rows.first().is_some_and(|row| row.get("is_cut"));
        let (runs, tasks) = rows.first().map(batch::read).unwrap_or_default();
        let want = match is_cut {
            true => u32::try_from(tasks.len()).unwrap_or(want),
            false => want,
        };
        let more = lanes.took(&shares, &runs, want);
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let claim = ClaimId(row.get("id"));
        if claim.0 <= newest {
            self.release_reused_claim(lease, runner, claim).await?;
            return Err(StoreError::Transient {
                verb: "claim tasks",
                message: format!(
                    "the database has assigned claim id {} twice: it was restored, or is a different database",
                    claim.0
                ),
                hint: None,
            });
        }
        self.live().claimed(claim, tasks.iter().map(|task| task.id));
        Ok(Some(Claimed { claim, tasks, more }))
    }

    /// Releases a claim whose id is not new: an outcome under the older claim would be accepted
    /// for this one. The next claim uses a new connection, which continues after all ids that
    /// this process has seen.
    async fn release_reused_claim(
        &self,
        lease: &mut Lease<'_>,
        runner: RunnerId,
        claim: ClaimId,
    ) -> Result<(), StoreError> {
        // If this fails, the next beat finds an orphaned claim.
        self.live().abandon(claim);
        let only = Some(vec![claim.0]);
        let released = lease
            .query_alone(sql!("release_claims"), &[&runner.0, &only])
            .await;
        lease.close();
        released.map(drop)
    }

    /// Moves one task into its own claim, so that a crash counts only against this task. `None`:
    /// the claim is lost, or the task was released because the id of its new claim is not new,
    /// or an earlier call whose answer was lost moved the task: its new claim is then among the
    /// orphaned claims. After a transient error call again; ending the task under `claim`
    /// instead could duplicate it.
    pub async fn isolate(
        &self,
        runner: RunnerId,
        claim: ClaimId,
        task: TaskId,
    ) -> Result<Option<ClaimId>, StoreError> {
        let mut lease = self.lease(Role::Claim, "isolate a task").await?;
        let _calling = Calling::new(self);
        let newest = self.live().newest();
        let rows = lease
            .query(sql!("isolate"), &[&runner.0, &claim.0, &task.0])
            .await?;
        let mut alone = rows.first().map(|row| ClaimId(row.get("id")));
        let old = alone.take_if(|alone| alone.0 <= newest);
        if let Some(old) = old {
            self.release_reused_claim(&mut lease, runner, old).await?;
        }
        // No row means that the task has left the claim: the claim is lost, or an earlier call
        // moved the task.
        let ended = [(claim, task)];
        let emptied = self.live().emptied(&ended);
        if let Some(alone) = alone {
            self.live().claimed(alone, std::iter::once(task));
        }
        self.live().ended(&ended, &emptied);
        for empty in emptied {
            // If this fails, or is not awaited, the next beat finds an orphaned claim: an empty
            // claim must not stay, because prune keeps rows newer than it.
            self.live().abandon(ClaimId(empty));
            let only = Some(vec![empty]);
            let removed = lease
                .query_alone(sql!("release_claims"), &[&runner.0, &only])
                .await;
            if let Err(error) = removed {
                tracing::debug!(claim = empty, %error, "could not delete an empty claim");
            }
        }
        if old.is_some() {
            lease.close();
        }
        Ok(alone)
    }

    /// Releases the unfinished tasks of a claim without using an attempt. Returns how many tasks
    /// were released.
    pub async fn release_claim(&self, runner: RunnerId, claim: ClaimId) -> Result<u64, StoreError> {
        let only = Some(vec![claim.0]);
        let mut lease = self.lease(Role::Finish, "release a claim").await?;
        let rows = lease
            .query_alone(sql!("release_claims"), &[&runner.0, &only])
            .await?;
        self.live().forget(claim);
        Ok(rows[0].get::<_, i64>("released").unsigned_abs())
    }
}
