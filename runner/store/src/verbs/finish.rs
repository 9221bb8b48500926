//! Finish: stores the outcomes of attempts, if their claims still exist.
//!
//! If every task of the flush is final and none pushed children, the flush is one statement and
//! so one round trip and one commit; a large flush of these is copied. Everything else is a
//! transaction of several statements.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::{LOCK_WAIT, Role};
use crate::connect::session::Lease;
use crate::sql::columns::List;
use crate::sql::outcomes::{Outcomes, Param, Returns};
use crate::sql::{Sql, sql};
use crate::verbs::finish_many::store_many;
use crate::verbs::outcome_record::{FinishResult, OutcomeRecord, Stale};
use crate::verbs::push::push_on;
use pgtq_task::{
    AttemptRecord, ClaimId, ErrorKind, Failure, NewTask, RunnerId, TaskId, Transition,
};

/// As [`LOCK_WAIT`], for outcomes that have waited before.
const PARKED_LOCK_WAIT: Duration = Duration::from_millis(50);

impl Store {
    /// Stores all outcomes in one transaction. `again` says that an earlier call with some of
    /// these outcomes returned an error, so its commit may have happened: outcomes that are
    /// recorded already are skipped and count as stored. A text that the database rejects (a
    /// result that is not JSON, an invalid child) fails only its own task; then each outcome
    /// gets its own transaction. [`StoreError::Locked`] says that nothing of this call is
    /// stored.
    ///
    /// Must not be called with the same outcome twice at once. After a dropped future, as after
    /// an error, call with `again`.
    pub async fn finish(
        &self,
        runner: RunnerId,
        endings: &[OutcomeRecord],
        again: bool,
    ) -> Result<FinishResult, StoreError> {
        self.finish_as(Role::Finish, runner, endings, again).await
    }

    /// As [`Store::finish`], for outcomes that had to wait for a lock of another transaction: on
    /// a separate connection, so that other outcomes do not wait.
    pub async fn finish_parked(
        &self,
        runner: RunnerId,
        endings: &[OutcomeRecord],
        again: bool,
    ) -> Result<FinishResult, StoreError> {
        self.finish_as(Role::Parked, runner, endings, again).await
    }

    async fn finish_as(
        &self,
        role: Role,
        runner: RunnerId,
        endings: &[OutcomeRecord],
        again: bool,
    ) -> Result<FinishResult, StoreError> {
        let all: Vec<&OutcomeRecord> = endings.iter().collect();
        let mut finished = FinishResult::default();
        match self.flush(role, runner, &all, again, &mut finished).await {
            Err(StoreError::Refused { .. }) => {}
            other => return other.map(|()| finished),
        }
        // One of them is the cause, and only that one must fail.
        finished = FinishResult::default();
        for ending in endings {
            let key = (ending.claim, ending.task.id);
            let alone = self
                .flush(role, runner, &[ending], again, &mut finished)
                .await;
            let message = match alone {
                Err(StoreError::Refused { message, .. }) => message,
                Err(StoreError::Locked { .. }) => {
                    finished.locked.push(key);
                    continue;
                }
                other => {
                    other?;
                    continue;
                }
            };
            let failed = rejected(ending, &message);
            let stored = self
                .flush(role, runner, &[&failed], again, &mut finished)
                .await;
            match stored {
                Err(StoreError::Locked { .. }) => finished.locked.push(key),
                other => {
                    other?;
                    finished.refused.push(key);
                }
            }
        }
        Ok(finished)
    }

    async fn flush(
        &self,
        role: Role,
        runner: RunnerId,
        endings: &[&OutcomeRecord],
        again: bool,
        finished: &mut FinishResult,
    ) -> Result<(), StoreError> {
        let mut lease = self.lease(role, "store outcomes").await?;
        let is_parked = matches!(role, Role::Parked);
        let lock_wait = if is_parked {
            PARKED_LOCK_WAIT
        } else {
            LOCK_WAIT
        };
        let simple = |ending: &&OutcomeRecord| {
            ending.recorded
                || ending.transition.state().is_final()
                    && ending.record.children.is_empty()
                    && !deletes_state(ending)
        };
        let ended: Vec<(ClaimId, TaskId)> = endings.iter().map(|e| (e.claim, e.task.id)).collect();
        let closing = self.live().emptied(&ended);
        let simple = !again && !is_parked && endings.iter().all(simple);
        let stored = if simple && endings.len() >= self.many() && lease.may_copy() {
            let kept = remaining_claims(endings, &closing);
            store_many(&mut lease, runner, &unstored(endings), &kept, &closing).await
        } else if simple && lease.keeps_settings() {
            store_final(&mut lease, runner, &unstored(endings), &closing).await
        } else if simple {
            store_alone(&mut lease, runner, &unstored(endings), &closing).await
        } else {
            transact(&mut lease, runner, endings, &closing, again, lock_wait).await
        };
        if stored.is_err() && lease.is_open() {
            // The first error is the one to report.
            lease.rollback().await.ok();
        }
        let stale = stored?;
        self.live().ended(&ended, &closing);
        finished.stale.extend(stale);
        Ok(())
    }
}

async fn transact(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&OutcomeRecord],
    closing: &[i64],
    again: bool,
    lock_wait: Duration,
) -> Result<Stale, StoreError> {
    lease.begin_waiting(lock_wait).await?;
    let claims = claims(endings);
    let hold = if again {
        sql!("finish_hold_alone")
    } else {
        sql!("finish_hold")
    };
    lease.query(hold, &[&runner.0, &claims]).await?;
    let all = endings;
    let mut endings = unstored(all);
    if again {
        endings = unrecorded(lease, &endings).await?;
    }

    let (over, back): (Vec<&OutcomeRecord>, Vec<&OutcomeRecord>) = endings
        .iter()
        .partition(|ending| ending.transition.state().is_final());
    let mut stale = Stale::new();
    if !over.is_empty() {
        stale.extend(store_final(lease, runner, &over, &[]).await?);
    }
    if !back.is_empty() {
        stale.extend(store_return(lease, runner, &back).await?);
    }
    let children: Vec<NewTask> = over
        .iter()
        .filter(|e| matches!(e.transition, Transition::Complete { .. }))
        .filter(|e| !stale.contains(&(e.claim, e.task.id)))
        .flat_map(|e| {
            e.record.children.iter().map(|child| NewTask {
                parent: Some(e.task.id),
                ..child.clone()
            })
        })
        .collect();
    for chunk in children.chunks(5_000) {
        push_on(lease, chunk).await?;
    }
    let forgotten: Vec<i64> = over
        .iter()
        .filter(|e| deletes_state(e) && !stale.contains(&(e.claim, e.task.id)))
        .map(|e| e.task.id.0)
        .collect();
    if !forgotten.is_empty() {
        lease.query(sql!("finish_forget"), &[&forgotten]).await?;
    }
    let (claim_ids, task_ids): (Vec<i64>, Vec<i64>) =
        all.iter().map(|e| (e.claim.0, e.task.id.0)).unzip();
    let queues: BTreeSet<&str> = back.iter().map(|e| e.task.queue.as_str()).collect();
    let woken: Vec<&str> = queues.into_iter().collect();
    lease
        .query(
            sql!("finish_close"),
            &[&runner.0, &closing, &claim_ids, &task_ids, &woken],
        )
        .await?;
    lease.commit().await?;
    Ok(stale)
}

/// As [`store_final`], where a session keeps no settings.
async fn store_alone(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&OutcomeRecord],
    closing: &[i64],
) -> Result<Stale, StoreError> {
    lease.begin_waiting(LOCK_WAIT).await?;
    let stale = store_final(lease, runner, endings, closing).await?;
    lease.commit().await?;
    Ok(stale)
}

async fn store_final(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&OutcomeRecord],
    closing: &[i64],
) -> Result<Stale, StoreError> {
    let kept = remaining_claims(endings, closing);
    let outcomes = Outcomes::new(endings);
    let mut params: Vec<Param<'_>> = vec![&runner.0, &kept, &closing];
    params.extend(List::Final.bind(&outcomes));
    run_finish(lease, sql!("finish_final"), &params, endings).await
}

async fn store_return(
    lease: &mut Lease<'_>,
    runner: RunnerId,
    endings: &[&OutcomeRecord],
) -> Result<Stale, StoreError> {
    let claims = claims(endings);
    let outcomes = Outcomes::new(endings);
    let returns = Returns::new(endings);
    let mut params: Vec<Param<'_>> = vec![
        &runner.0,
        &claims,
        &returns.kinds,
        &returns.numbers,
        &returns.delays,
    ];
    params.extend(List::Returned.bind(&outcomes));
    run_finish(lease, sql!("finish_return"), &params, endings).await
}

/// Runs a finishing statement; its rows are the indexes of the outcomes that came too late.
async fn run_finish(
    lease: &mut Lease<'_>,
    sql: &Sql,
    params: &[Param<'_>],
    endings: &[&OutcomeRecord],
) -> Result<Stale, StoreError> {
    let rows = lease.query(sql, params).await?;
    Ok(rows
        .iter()
        .map(|row| endings[place(row)])
        .map(|ending| (ending.claim, ending.task.id))
        .collect())
}

async fn unrecorded<'a>(
    lease: &mut Lease<'_>,
    endings: &[&'a OutcomeRecord],
) -> Result<Vec<&'a OutcomeRecord>, StoreError> {
    let (claim_ids, task_ids): (Vec<i64>, Vec<i64>) =
        endings.iter().map(|e| (e.claim.0, e.task.id.0)).unzip();
    let rows = lease
        .query(sql!("finish_recorded"), &[&claim_ids, &task_ids])
        .await?;
    let recorded: BTreeSet<usize> = rows.iter().map(place).collect();
    Ok(endings
        .iter()
        .enumerate()
        .filter(|(i, _)| !recorded.contains(i))
        .map(|(_, ending)| *ending)
        .collect())
}

/// Without those that committed with their task's own transaction.
fn unstored<'a>(endings: &[&'a OutcomeRecord]) -> Vec<&'a OutcomeRecord> {
    endings
        .iter()
        .copied()
        .filter(|ending| !ending.recorded)
        .collect()
}

/// Whether the task's saved values are deleted with it.
fn deletes_state(ending: &OutcomeRecord) -> bool {
    ending.has_state && matches!(ending.transition, Transition::Complete { .. })
}

fn place(row: &tokio_postgres::Row) -> usize {
    usize::try_from(row.get::<_, i64>("ordinal") - 1).expect("ordinality counts from 1")
}

fn claims(endings: &[&OutcomeRecord]) -> Vec<i64> {
    let claims: BTreeSet<i64> = endings.iter().map(|ending| ending.claim.0).collect();
    claims.into_iter().collect()
}

/// The claims that stay open.
fn remaining_claims(endings: &[&OutcomeRecord], closing: &[i64]) -> Vec<i64> {
    let claims = claims(endings).into_iter();
    claims.filter(|claim| !closing.contains(claim)).collect()
}

/// The failed outcome that replaces one that the database rejected.
fn rejected(ending: &OutcomeRecord, message: &str) -> OutcomeRecord {
    let failure = Failure::new(
        ErrorKind::Contract,
        format!("the database rejected what the handler returned: {message}"),
    );
    OutcomeRecord {
        transition: Transition::Fail { failure },
        record: AttemptRecord {
            children: Vec::new(),
            logs: Vec::new(),
            ..ending.record.clone()
        },
        ..ending.clone()
    }
}
