//! The actors' calls, and their answers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::connect::claims::LiveClaims;
use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::handler_sql::work::success;
use crate::sql::columns::List;
use crate::sql::outcomes::Outcomes;
use crate::sql::{Sql, sql};
use crate::testdb::name;
use crate::verbs::beat::Beat;
use crate::verbs::lanes::Lanes;
use crate::verbs::lanes::lane::QueueFilter;
use crate::verbs::operate::Moved;
use crate::verbs::outcome_record::OutcomeRecord;
use crate::verbs::push::PushColumns;
use crate::verbs::runner::RunnerFacts;
use pgtq_task::{ClaimId, NewTask, RunnerId, Task, TaskId};

/// The handlers of every runner.
pub(super) const HANDLERS: [&str; 2] = ["a", "b"];
pub(super) const QUEUES: [&str; 2] = ["default", "second"];

/// One call.
#[derive(Debug, Clone)]
pub(super) enum Verb {
    Push(Vec<NewTask>),
    Claim {
        runner: i64,
        want: u32,
    },
    Finish {
        runner: i64,
        endings: Vec<OutcomeRecord>,
        again: bool,
        fenced: bool,
    },
    CompleteInTask {
        runner: i64,
        ending: Box<OutcomeRecord>,
    },
    Isolate {
        runner: i64,
        claim: i64,
        task: i64,
    },
    ReleaseClaim {
        runner: i64,
        claim: i64,
    },
    Beat {
        runner: i64,
    },
    Register,
    Retire {
        runner: i64,
    },
    Rescue {
        orphans: bool,
    },
    Promote {
        limit: u32,
    },
    Prune,
    Cancel(Vec<i64>),
    Retry(Vec<i64>),
    Delete(Vec<i64>),
    Pause {
        on: bool,
        kind: &'static str,
        name: &'static str,
    },
    /// Expires the lease of a runner.
    Expire {
        runner: i64,
    },
    /// Makes all scheduled tasks due.
    Due,
    /// Makes everything a month older.
    Age,
}

/// The answer to the caller.
#[derive(Debug)]
pub(super) enum Answer {
    Pushed(Vec<(i64, bool)>),
    Claimed(Option<(i64, Vec<Task>)>),
    Finished {
        stale: BTreeSet<(i64, i64)>,
    },
    Held(bool),
    Isolated(Option<i64>),
    Count(u64),
    Beat {
        alive: bool,
        claims: Vec<i64>,
        orphaned: Vec<i64>,
        lost: Vec<i64>,
        asked: Vec<(i64, i64)>,
    },
    Runner(i64),
    Rescued {
        tasks: u64,
        failed: u64,
        cancelled: u64,
    },
    Moved(Vec<Moved>),
    Changed(bool),
    Done,
}

impl Verb {
    /// For coverage and output.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Verb::Push(_) => "push",
            Verb::Claim { .. } => "claim",
            Verb::Finish { again: false, .. } => "finish",
            Verb::Finish { .. } => "finish again",
            Verb::CompleteInTask { .. } => "complete in task",
            Verb::Isolate { .. } => "isolate",
            Verb::ReleaseClaim { .. } => "release claim",
            Verb::Beat { .. } => "beat",
            Verb::Register => "register",
            Verb::Retire { .. } => "retire",
            Verb::Rescue { .. } => "rescue",
            Verb::Promote { .. } => "promote",
            Verb::Prune => "prune",
            Verb::Cancel(_) => "cancel",
            Verb::Retry(_) => "retry",
            Verb::Delete(_) => "delete",
            Verb::Pause { on: true, .. } => "pause",
            Verb::Pause { .. } => "resume",
            Verb::Expire { .. } => "lease ends",
            Verb::Due => "time comes",
            Verb::Age => "a month passes",
        }
    }

    /// The tasks that it affects.
    pub(super) fn tasks(&self) -> Vec<i64> {
        match self {
            Verb::Finish { endings, .. } => endings.iter().map(|e| e.task.id.0).collect(),
            Verb::CompleteInTask { ending, .. } => vec![ending.task.id.0],
            Verb::Isolate { task, .. } => vec![*task],
            Verb::Cancel(ids) | Verb::Retry(ids) | Verb::Delete(ids) => ids.clone(),
            _ => Vec::new(),
        }
    }

    /// Runs it, using only the store's own functions.
    pub(super) async fn perform(self, store: Store) -> Result<Answer, StoreError> {
        Ok(match self {
            Verb::Push(tasks) => {
                let pushed = store.push(&tasks).await?;
                Answer::Pushed(pushed.iter().map(|p| (p.id.0, p.existed)).collect())
            }
            Verb::Claim { runner, want } => {
                // New cursors, because a claimer's searches for stragglers depend on the clock.
                let mut lanes = Lanes::new(QueueFilter::Except(Vec::new()));
                let handlers = HANDLERS.map(name);
                let claimed = store
                    .claim(RunnerId(runner), &mut lanes, &handlers, want)
                    .await?;
                Answer::Claimed(claimed.map(|c| (c.claim.0, c.tasks)))
            }
            Verb::Finish {
                runner,
                endings,
                fenced: false,
                ..
            } => finish_unfenced(&store, runner, &endings).await?,
            Verb::Finish {
                runner,
                endings,
                again,
                ..
            } => {
                let finished = store.finish(RunnerId(runner), &endings, again).await?;
                assert!(finished.refused.is_empty(), "refused: {finished:?}");
                Answer::Finished {
                    stale: finished.stale.iter().map(|(c, t)| (c.0, t.0)).collect(),
                }
            }
            Verb::CompleteInTask { runner, ending } => {
                let endings = [&*ending];
                let outcomes = Outcomes::new(&endings);
                let children = PushColumns::new(&ending.record.children);
                let ticket: &[u8] = store.ticket().bytes();
                let params = success(&runner, &ticket, &outcomes, &children);
                let rows = store
                    .run(
                        Role::CommitStatus,
                        "complete in the task",
                        sql!("attempt_complete"),
                        &params,
                    )
                    .await?;
                Answer::Held(rows[0].get("held"))
            }
            Verb::Isolate {
                runner,
                claim,
                task,
            } => {
                let alone = store
                    .isolate(RunnerId(runner), ClaimId(claim), TaskId(task))
                    .await?;
                Answer::Isolated(alone.map(|c| c.0))
            }
            Verb::ReleaseClaim { runner, claim } => Answer::Count(
                store
                    .release_claim(RunnerId(runner), ClaimId(claim))
                    .await?,
            ),
            Verb::Beat { runner } => {
                let reply = store.beat(RunnerId(runner), &Beat::default()).await?;
                let ids = |claims: Vec<ClaimId>| claims.iter().map(|c| c.0).collect();
                Answer::Beat {
                    alive: reply.alive,
                    claims: ids(reply.claims),
                    orphaned: ids(reply.orphaned),
                    lost: ids(reply.lost),
                    asked: reply.cancelled.iter().map(|(c, t)| (c.0, t.0)).collect(),
                }
            }
            Verb::Register => Answer::Runner(store.register(&facts()).await?.0),
            Verb::Retire { runner } => Answer::Count(store.retire(RunnerId(runner)).await?),
            Verb::Rescue { orphans } => {
                // Not `Store::rescue`, which decides by the clock whether to look for orphans.
                let rows = store
                    .run(
                        Role::Rescue,
                        "rescue",
                        sql!("rescue"),
                        &[&orphans, &100, &3, &Vec::<i64>::new()],
                    )
                    .await?;
                let count = |column| rows[0].get::<_, i64>(column).unsigned_abs();
                Answer::Rescued {
                    tasks: count("tasks"),
                    failed: count("failed"),
                    cancelled: count("cancelled"),
                }
            }
            Verb::Promote { limit } => Answer::Count(store.promote(limit).await?.count),
            Verb::Prune => {
                store.prune(Duration::from_secs(7 * 86_400)).await?;
                Answer::Done
            }
            Verb::Cancel(ids) => Answer::Moved(store.cancel(&ids_of(&ids)).await?),
            Verb::Retry(ids) => Answer::Moved(store.retry(&ids_of(&ids)).await?),
            Verb::Delete(ids) => Answer::Moved(store.delete(&ids_of(&ids)).await?),
            Verb::Pause {
                on,
                kind,
                name: text,
            } => {
                let what = name(text);
                Answer::Changed(match (on, kind) {
                    (true, "queue") => store.pause_queue(&what).await?,
                    (false, "queue") => store.resume_queue(&what).await?,
                    (true, _) => store.pause_handler(&what).await?,
                    (false, _) => store.resume_handler(&what).await?,
                })
            }
            Verb::Expire { runner } => {
                let text = "UPDATE {{schema}}.runners SET expires_at = now() - interval '1 second' WHERE id = $1";
                store
                    .run(Role::General, "end a lease", &loose(text), &[&runner])
                    .await?;
                Answer::Done
            }
            Verb::Due => {
                let text =
                    "UPDATE {{schema}}.scheduled_tasks SET run_at = now() - interval '1 second'";
                store
                    .run(Role::General, "let time come", &loose(text), &[])
                    .await?;
                Answer::Done
            }
            Verb::Age => {
                for (table, column) in [
                    ("history", "finished_at"),
                    ("attempts", "ended_at"),
                    ("claims", "claimed_at"),
                    ("keys", "expires_at"),
                    ("keys", "first_at"),
                ] {
                    let text = format!(
                        "UPDATE {{{{schema}}}}.{table} SET {column} = {column} - interval '30 days'"
                    );
                    store.run(Role::General, "age", &loose(&text), &[]).await?;
                }
                Answer::Done
            }
        })
    }
}

/// Resets a store that another schedule has used.
pub(super) fn forget_everything(store: &Store) {
    *store.live() = LiveClaims::default();
}

/// The mutant of `finish` that does not check the claim.
async fn finish_unfenced(
    store: &Store,
    runner: i64,
    endings: &[OutcomeRecord],
) -> Result<Answer, StoreError> {
    let fence = "WHERE e.claim_id = ANY (ARRAY(SELECT id FROM held))";
    let text = sql!("finish_final").text.replace(fence, "");
    assert_ne!(
        text,
        sql!("finish_final").text,
        "the fence looks different now"
    );
    let endings: Vec<&OutcomeRecord> = endings.iter().filter(|e| !e.recorded).collect();
    let outcomes = Outcomes::new(&endings);
    let ended: Vec<(ClaimId, TaskId)> = endings.iter().map(|e| (e.claim, e.task.id)).collect();
    let closing = store.live().emptied(&ended);
    let kept: Vec<i64> = ended
        .iter()
        .map(|(claim, _)| claim.0)
        .filter(|c| !closing.contains(c))
        .collect();
    let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        vec![&runner, &kept, &closing];
    params.extend(List::Final.bind(&outcomes));
    store
        .run(Role::Finish, "finish", &loose(&text), &params)
        .await?;
    store.live().ended(&ended, &closing);
    Ok(Answer::Finished {
        stale: BTreeSet::new(),
    })
}

fn loose(text: &str) -> Sql {
    Sql {
        name: None,
        text: text.to_owned().into(),
    }
}

fn ids_of(ids: &[i64]) -> Vec<TaskId> {
    ids.iter().copied().map(TaskId).collect()
}

fn facts() -> RunnerFacts {
    RunnerFacts {
        name: "sched".into(),
        host: "here".into(),
        pid: 1,
        version: "0".into(),
        slots: 4,
        queues: vec!["*".into()],
    }
}
