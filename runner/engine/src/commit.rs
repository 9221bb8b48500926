//! The end of an attempt that ran SQL: its transaction and its outcome are
//! one commit, or none.
//!
//! Only a success is committed here, on the attempt's own connection. What is
//! left for the completer is then to close the claim. Every other outcome rolls
//! back and goes the ordinary way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backlog::Taken;
use super::core::Core;
use pgtq_store::{AttemptDatabase, Commit, CommitStatus, Ending};
use pgtq_task::{ErrorKind, Failure, Outcome, Report, Transition};

/// Before a task goes back whose commit was lost to the database: a handler
/// whose connection always dies must not fill the database with its attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Before a task runs again whose outcome met somebody else's lock. Its handler is not to
/// blame: no attempt is counted.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// How an attempt stands after its transaction has ended.
pub(crate) struct Settled {
    pub(crate) report: Report,
    /// The outcome is in the database already.
    pub(crate) recorded: bool,
    /// The task has saved values.
    pub(crate) has_state: bool,
}

impl From<Report> for Settled {
    /// Of an attempt without any transaction.
    fn from(report: Report) -> Self {
        Settled {
            report,
            recorded: false,
            has_state: false,
        }
    }
}

/// Ends the attempt's transaction. `None`: the claim is gone, and with it the attempt.
pub(crate) async fn settle(
    core: &Core,
    taken: &Taken,
    database: &AttemptDatabase,
    mut report: Report,
    started: Instant,
) -> Option<Settled> {
    if !database.is_used() {
        return Some(Settled::from(report));
    }
    let mut recorded = false;
    if matches!(report.outcome, Outcome::Complete { .. }) {
        let ending = ending(taken, &mut report, started);
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
                    task = taken.task.id.0,
                    why,
                    "the outcome of this task needs a lock that another transaction holds; all of its SQL was rolled back, and it runs again in a while"
                );
                report.record.children.clear();
                report.outcome = Outcome::Snooze {
                    after: LOCKED_PAUSE,
                };
            }
            Commit::Lost => {
                tokio::time::sleep(PAUSE).await;
                report.outcome = lost(database.commit_status().await.is_ok());
            }
            Commit::Unknown => match ask(core, taken, database).await? {
                CommitStatus::Committed => recorded = true,
                CommitStatus::ClaimLost => return None,
                CommitStatus::RolledBack => report.outcome = Outcome::Release,
            },
        }
    } else {
        database.roll_back().await;
    }
    // A checkpoint that was cut short may still be committed: the next attempt
    // must find it, or know that it will never be.
    if database.is_in_doubt().await
        && let CommitStatus::ClaimLost = ask(core, taken, database).await?
    {
        return None;
    }
    Some(Settled {
        has_state: !recorded && database.has_state().await,
        report,
        recorded,
    })
}

/// The connection was gone before the commit. If the database itself is there, the
/// handler may have had a hand in that, and an attempt is an attempt: otherwise it
/// would be run for ever.
fn lost(database_is_there: bool) -> Outcome {
    match database_is_there {
        false => Outcome::Release,
        true => Outcome::Retry {
            failure: Failure::new(
                ErrorKind::Sql,
                "the connection of the handler's SQL was lost before its commit, and all of it was rolled back; the database itself answers, so look for a timeout of idle transactions that is shorter than the handler, or for somebody who terminates connections",
            ),
            after: None,
        },
    }
}

/// Asks what became of a commit until the database says it, or the lease is gone.
async fn ask(core: &Core, taken: &Taken, database: &AttemptDatabase) -> Option<CommitStatus> {
    let task = taken.task.id;
    tracing::warn!(
        task = task.0,
        "the answer to a commit was lost; asking what became of it"
    );
    loop {
        tokio::time::sleep(PAUSE).await;
        match database.commit_status().await {
            Ok(commit_status) => return Some(commit_status),
            Err(error) if core.ledger.knows(taken.claim) => {
                tracing::warn!(task = task.0, %error, "could not ask; trying again");
            }
            Err(_) => return None,
        }
    }
}

/// The ending, with the record taken out of the report for as long as the commit takes.
fn ending(taken: &Taken, report: &mut Report, started: Instant) -> Ending {
    let result = match &report.outcome {
        Outcome::Complete { result } => result.clone(),
        _ => String::new(),
    };
    Ending {
        claim: taken.claim,
        task: Arc::clone(&taken.task),
        transition: Transition::Complete { result },
        record: std::mem::take(&mut report.record),
        recorded: false,
        has_state: false,
        started,
        ended: Instant::now(),
    }
}
