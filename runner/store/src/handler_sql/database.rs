//! Database access of one attempt.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::connect::connection::Store;
use crate::handler_sql::save;
use crate::handler_sql::saved::{SavedValues, interrupted, lost};
use crate::handler_sql::trouble::Trouble;
use crate::handler_sql::work::{Commit, HeldConnection, Settle};
use crate::handler_sql::{params, statement};
use crate::sql::sql;
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::{
    ClaimId, Database, DatabaseFuture, ErrorKind, Failure, GuestError, Limits, RunnerId, SqlGrant,
    TaskId,
};

/// Reserved from the attempt's time, so that the guest still receives the timeout error.
const MARGIN: Duration = Duration::from_millis(50);

/// Database access of one attempt. Costs one allocation until it is used.
pub struct AttemptDatabase {
    pub(super) store: Store,
    pub(super) runner: RunnerId,
    pub(super) claim: ClaimId,
    pub(super) task: TaskId,
    started: Instant,
    used: AtomicBool,
    pub(super) inner: Mutex<TransactionState>,
}

#[derive(Default)]
pub(super) struct TransactionState {
    work: Option<HeldConnection>,
    /// Why the attempt's transaction cannot be committed any more.
    doom: Option<GuestError>,
    /// A checkpoint's commit may be in flight: its result is not known.
    pub(super) in_doubt: bool,
    saved: SavedValues,
}

impl Store {
    /// Database access for an attempt that starts now.
    pub fn attempt(&self, runner: RunnerId, claim: ClaimId, task: TaskId) -> Arc<AttemptDatabase> {
        Arc::new(AttemptDatabase {
            store: self.clone(),
            runner,
            claim,
            task,
            started: Instant::now(),
            used: AtomicBool::new(false),
            inner: Mutex::default(),
        })
    }
}

impl AttemptDatabase {
    /// Whether the handler used the database. Most never do.
    pub fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// Whether the task has saved values, as far as this attempt knows.
    pub async fn has_state(&self) -> bool {
        self.used.load(Relaxed) && !self.inner.lock().await.saved.is_empty()
    }

    /// Commits the attempt's transaction together with its outcome, which is a success.
    /// Afterwards no transaction is open. Not cancel-safe: treat a dropped future as
    /// [`Commit::Unknown`].
    pub async fn complete(&self, ending: &OutcomeRecord) -> Commit {
        if !self.used.load(Relaxed) {
            return Commit::Nothing;
        }
        let mut inner = self.inner.lock().await;
        if let Some(doom) = &inner.doom {
            let mut failure = Failure::new(
                ErrorKind::Sql,
                format!(
                    "nothing was committed: a statement failed and the handler continued; make it return the error instead: {}",
                    doom.message
                ),
            );
            failure.code.clone_from(&doom.code);
            return Commit::Refused(failure);
        }
        let Some(mut work) = inner.work.take() else {
            return Commit::Nothing;
        };
        if !work.begun {
            work.release();
            return Commit::Nothing;
        }
        let schema = &self.store.config().schema;
        let ticket = self.store.ticket().bytes();
        let ended = Box::pin(work.complete(schema, ticket, self.runner.0, ending)).await;
        match ended {
            Ok(()) => {
                inner.saved = SavedValues::default();
                work.release();
                Commit::Recorded
            }
            Err(settle @ (Settle::Stale | Settle::Refused(_) | Settle::Locked(_))) => {
                work.release();
                settle.into_commit()
            }
            Err(settle) => settle.into_commit(),
        }
    }

    /// Keeps the attempt's transaction from hitting the idle timeout while `is_ours` says that
    /// the lease is held. Runs until its future is dropped.
    pub async fn keep_alive(&self, is_ours: impl Fn() -> bool) {
        loop {
            tokio::time::sleep(Store::LEASE / 3).await;
            if !self.used.load(Relaxed) || !is_ours() {
                continue;
            }
            // If it is locked, a statement is running.
            if let Ok(mut inner) = self.inner.try_lock()
                && let Some(work) = &mut inner.work
            {
                work.keep_alive().await;
            }
        }
    }

    /// Rolls back the attempt's transaction in the background.
    pub async fn roll_back(&self) {
        if self.used.load(Relaxed) {
            let work = self.inner.lock().await.work.take();
            if let Some(work) = work {
                work.release();
            }
        }
    }

    async fn open(&self) -> Result<MutexGuard<'_, TransactionState>, GuestError> {
        self.used.store(true, Relaxed);
        let inner = self.inner.lock().await;
        match &inner.doom {
            None => Ok(inner),
            Some(doom) => Err(GuestError::new(
                "sql:25P02",
                format!(
                    "the transaction is doomed, because an earlier statement failed ({}: {}); return an error from the handler, and the whole attempt is retried",
                    doom.code, doom.message
                ),
            )),
        }
    }

    fn left(&self, limits: &Limits) -> Duration {
        limits
            .timeout
            .saturating_sub(self.started.elapsed() + MARGIN)
    }

    /// The open transaction, or a new one.
    async fn work(
        &self,
        inner: &mut TransactionState,
        grant: &SqlGrant,
        limits: &Limits,
    ) -> Result<HeldConnection, GuestError> {
        if let Some(work) = inner.work.take_if(|work| work.begun) {
            return Ok(work);
        }
        let pool = self.store.pools().of(grant);
        let mut held = inner.work.take();
        // A kept connection may have died unnoticed; a new connection may not.
        for is_last in [false, true] {
            let mut work = match held.take() {
                Some(work) => work,
                None => HeldConnection::take(Arc::clone(&pool), self.left(limits)).await?,
            };
            match work
                .begin(
                    self.runner,
                    &self.store.config().schema,
                    grant,
                    self.left(limits),
                )
                .await
            {
                Ok(()) => return Ok(work),
                Err(why) if is_last => {
                    return Err(GuestError::new(
                        "unavailable",
                        format!("open a transaction: {why}"),
                    ));
                }
                Err(_) => {}
            }
        }
        unreachable!("the second turn returns");
    }

    async fn run(
        &self,
        grant: &SqlGrant,
        limits: &Limits,
        statement: &str,
        params: &str,
    ) -> Result<String, GuestError> {
        statement::check(statement)?;
        let values = params::split(params)?;
        let mut inner = self.open().await?;
        let mut work = self.work(&mut inner, grant, limits).await?;
        // If this future is dropped, it is unknown whether the statement ran.
        inner.doom = Some(interrupted());
        let left = self.left(limits);
        let result = work.run(statement, &values, limits, grant, left).await;
        inner.after(work, result)
    }

    async fn save(
        &self,
        limits: &Limits,
        name: &str,
        value: &str,
        with_sql: bool,
    ) -> Result<(), GuestError> {
        let mut inner = self.open().await?;
        save::load(&self.store, self.task, &mut inner.saved).await?;
        inner.saved.check(limits, name, value)?;
        let is_open = inner.work.as_ref().is_some_and(|work| work.begun);
        if !(with_sql && is_open) {
            if inner.saved.is_pending(name) {
                return Err(GuestError::new(
                    "invalid",
                    format!(
                        "the value `{name}` was saved with the open SQL transaction, which has not ended; save it that way again, or make a checkpoint first"
                    ),
                ));
            }
            return save::save(&self.store, self.holder(), &mut inner.saved, name, value).await;
        }
        let Some(mut work) = inner.work.take() else {
            return Err(interrupted());
        };
        inner.doom = Some(interrupted());
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
            &self.store.ticket().bytes(),
            &self.runner.0,
            &self.claim.0,
            &self.task.0,
            &name,
            &value,
        ];
        let schema = &self.store.config().schema;
        let result = work.save(schema, params, self.left(limits)).await;
        if inner.after(work, result)? {
            inner.saved.hold(name, value);
            Ok(())
        } else {
            Err(inner.doomed(lost()))
        }
    }

    fn holder(&self) -> (RunnerId, ClaimId, TaskId) {
        (self.runner, self.claim, self.task)
    }

    async fn commit_so_far(&self, limits: &Limits, value: &str) -> Result<(), GuestError> {
        let mut inner = self.open().await?;
        save::load(&self.store, self.task, &mut inner.saved).await?;
        inner.saved.check(limits, "", value)?;
        let Some(mut work) = inner.work.take_if(|work| work.begun) else {
            return save::save(&self.store, self.holder(), &mut inner.saved, "", value).await;
        };
        inner.doom = Some(interrupted());
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [
            &self.store.ticket().bytes(),
            &self.runner.0,
            &self.claim.0,
            &self.task.0,
            &value,
        ];
        let schema = &self.store.config().schema;
        // Also covers a caller that drops this future.
        inner.in_doubt = true;
        let settled = work
            .settle(schema, sql!("attempt_checkpoint"), &params)
            .await;
        inner.in_doubt = matches!(settled, Err(Settle::Unknown));
        match settled {
            Ok(()) => {
                inner.doom = None;
                inner.saved.hold("", value);
                inner.saved.committed();
                if work.is_pooled() {
                    work.release();
                } else {
                    inner.work = Some(work);
                }
                Ok(())
            }
            Err(Settle::Stale) => {
                work.release();
                Err(inner.doomed(lost()))
            }
            Err(Settle::Refused(why) | Settle::Locked(why)) => {
                work.release();
                Err(inner.doomed(GuestError::new(
                    "sql:25P02",
                    format!("the checkpoint was not committed, nor the SQL before it: {why}"),
                )))
            }
            // The next attempt continues from the checkpoint that it finds: the value and the
            // SQL before it were committed together, or neither was.
            Err(Settle::Lost(_) | Settle::Unknown) => Err(inner.doomed(GuestError::new(
                "unavailable",
                "the connection to the database was lost at a checkpoint; return an error from the handler, and the next attempt continues from the last committed checkpoint",
            ))),
        }
    }
}

impl TransactionState {
    /// Records the effect of a statement on the transaction.
    fn after<T>(
        &mut self,
        work: HeldConnection,
        result: Result<T, Trouble>,
    ) -> Result<T, GuestError> {
        self.doom = None;
        match result {
            Ok(value) => {
                self.work = Some(work);
                Ok(value)
            }
            Err(Trouble::Harmless(problem)) => {
                self.work = Some(work);
                Err(problem)
            }
            Err(Trouble::Failed(problem)) => {
                work.release();
                Err(self.doomed(problem))
            }
            Err(Trouble::Broken(problem)) => {
                drop(work);
                Err(self.doomed(problem))
            }
        }
    }

    /// After this, nothing of the attempt can be committed.
    fn doomed(&mut self, problem: GuestError) -> GuestError {
        self.work = None;
        self.saved.rolled_back();
        self.doom = Some(problem.clone());
        problem
    }
}

impl fmt::Debug for AttemptDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptDatabase")
            .field("claim", &self.claim)
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl Database for AttemptDatabase {
    fn sql<'a>(
        &'a self,
        grant: &'a SqlGrant,
        limits: &'a Limits,
        statement: &'a str,
        params: &'a str,
    ) -> DatabaseFuture<'a, String> {
        Box::pin(self.run(grant, limits, statement, params))
    }

    fn checkpoint<'a>(&'a self, limits: &'a Limits, value: &'a str) -> DatabaseFuture<'a, ()> {
        Box::pin(self.commit_so_far(limits, value))
    }

    fn load<'a>(&'a self, name: &'a str) -> DatabaseFuture<'a, Option<String>> {
        Box::pin(async move {
            self.used.store(true, Relaxed);
            let mut inner = self.inner.lock().await;
            save::load(&self.store, self.task, &mut inner.saved).await?;
            Ok(inner.saved.get(name).cloned())
        })
    }

    fn save<'a>(
        &'a self,
        limits: &'a Limits,
        name: &'a str,
        value: &'a str,
        with_sql: bool,
    ) -> DatabaseFuture<'a, ()> {
        Box::pin(AttemptDatabase::save(self, limits, name, value, with_sql))
    }
}
