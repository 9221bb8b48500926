//! Completes an attempt that ran SQL: its transaction and its outcome commit together or
//! not at all.
//!
//! Only a success commits here, on the attempt's own connection; the completer then only
//! closes the claim. Every other outcome rolls back and is stored by the completer as
//! usual.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::state::claimed_task::ClaimedTask;
use crate::state::core::Core;
use pgtq_store::{AttemptDatabase, Commit, CommitStatus, OutcomeRecord};
use pgtq_task::{ErrorKind, Failure, Outcome, Report, Transition};

/// Delay before a task is retried whose commit was lost with its connection: a handler
/// that always breaks its connection must not flood the database with attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Delay before a task is retried whose outcome needed a lock that another transaction
/// held. The handler is not at fault: no attempt is counted.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// The state of an attempt once its transaction has ended.
pub(crate) struct AttemptResult {
    pub(crate) report: Report,
    /// The outcome is already stored.
    pub(crate) recorded: bool,
    /// Whether the task has saved values.
    pub(crate) has_state: bool,
}

impl From<Report> for AttemptResult {
    /// For an attempt without a transaction.
    fn from(report: Report) -> Self {
        AttemptResult {
            report,
            recorded: false,
            has_state: false,
        }
    }
}

/// Ends the attempt's transaction. `None`: the claim is lost, and with it the attempt.
pub(crate) async fn end_transaction(
    core: &Core,
    claimed: &ClaimedTask,
    database: &AttemptDatabase,
    mut report: Report,
    started: Instant,
) -> Option<AttemptResult> {
    if !database.is_used() {
        return Some(AttemptResult::from(report));
    }
    let mut recorded = false;
    if matches!(report.outcome, Outcome::Complete { .. }) {
        let ending = outcome_record(claimed, &mut report, started);
        let commit = Box::pin(database.complete(&ending)).await;
        report.record = ending.record;
        match commit {
            Commit::Nothing => {}
            Commit::Recorded => recorded = true,
            Commit::Stale => return None,
            Commit::Refused(failure) => {
                report.outcome = Outcome::Retry {
                    failure,
                    after: None,
                }
            }
            Commit::Locked(why) => {
                tracing::warn!(
                    task = claimed.task.id.0,
                    why,
                    "the outcome of this task needs a lock that another transaction holds; all of its SQL was rolled back, and it will be retried later"
                );
                report.record.children.clear();
                report.outcome = Outcome::Snooze {
                    after: LOCKED_PAUSE,
                };
            }
            Commit::Lost => {
                tokio::time::sleep(PAUSE).await;
                report.outcome = connection_lost(database.commit_status().await.is_ok());
            }
            Commit::Unknown => match await_commit_status(core, claimed, database).await? {
                CommitStatus::Committed => recorded = true,
                CommitStatus::ClaimLost => return None,
                CommitStatus::RolledBack => report.outcome = Outcome::Release,
            },
        }
    } else {
        database.roll_back().await;
    }
    // A checkpoint whose answer was lost may have committed: the next attempt must either
    // find it or know that it never will.
    if database.is_in_doubt().await
        && let CommitStatus::ClaimLost = await_commit_status(core, claimed, database).await?
    {
        return None;
    }
    Some(AttemptResult {
        has_state: !recorded && database.has_state().await,
        report,
        recorded,
    })
}

/// The connection was lost before the commit. If the database still answers, the handler
/// may be the cause and the attempt counts; otherwise it could be retried without limit.
fn connection_lost(database_is_there: bool) -> Outcome {
    match database_is_there {
        false => Outcome::Release,
        true => Outcome::Retry {
            failure: Failure::new(
                ErrorKind::Sql,
                "the connection of the handler's SQL was lost before its commit, and all of it was rolled back; the database itself answers, so look for an idle-transaction timeout shorter than the handler, or for someone who terminates connections",
            ),
            after: None,
        },
    }
}

/// Asks for the commit status until the database answers or the lease is lost.
async fn await_commit_status(
    core: &Core,
    claimed: &ClaimedTask,
    database: &AttemptDatabase,
) -> Option<CommitStatus> {
    let task = claimed.task.id;
    tracing::warn!(
        task = task.0,
        "the response to a commit was lost; checking whether it committed"
    );
    loop {
        tokio::time::sleep(PAUSE).await;
        match database.commit_status().await {
            Ok(commit_status) => return Some(commit_status),
            Err(error) if core.claims.has_claim(claimed.claim) => {
                tracing::warn!(task = task.0, %error, "could not check the commit status; retrying");
            }
            Err(_) => return None,
        }
    }
}

/// The outcome record, which takes the report's own record while the commit runs.
fn outcome_record(claimed: &ClaimedTask, report: &mut Report, started: Instant) -> OutcomeRecord {
    let result = match &report.outcome {
        Outcome::Complete { result } => result.clone(),
        _ => String::new(),
    };
    OutcomeRecord {
        claim: claimed.claim,
        task: Arc::clone(&claimed.task),
        transition: Transition::Complete { result },
        record: std::mem::take(&mut report.record),
        recorded: false,
        has_state: false,
        started,
        ended: Instant::now(),
    }
}
