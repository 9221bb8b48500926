//! The heartbeat: renews the lease and returns the database's view of the runner.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;
use pgtq_task::{ClaimId, Progress, RunnerId, TaskId};

/// What a runner reports every few seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beat {
    /// Slots in use.
    pub busy: u32,
    /// Tasks that are claimed and not yet started.
    pub held: u32,
    /// The runner takes no more tasks.
    pub draining: bool,
    /// The tasks that have started, while others that are held have not; `None` if any of the
    /// held tasks may have started.
    pub started: Option<Vec<TaskId>>,
    /// Progress of running tasks, with their claims. Replaces the progress of the previous beat.
    pub progress: Vec<(ClaimId, TaskId, Progress)>,
    /// The state of each plugin file, free-form, for operators.
    pub plugins: serde_json::Value,
}

/// What the database answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BeatReply {
    /// False: the lease ran out and the runner was removed. Stop all attempts,
    /// register again.
    pub alive: bool,
    /// An operator asked this runner to drain, or the runner reported it itself.
    pub draining: bool,
    /// The claims that the database holds for this runner at this moment. A claim or finish in
    /// flight makes this list differ from the engine's: act on the two lists below.
    pub claims: Vec<ClaimId>,
    /// Claims whose answer was lost, so that nothing works on them: release them with
    /// [`Store::release_claim`].
    pub orphaned: Vec<ClaimId>,
    /// Claims that were rescued: stop their attempts. May name claims that
    /// ended a moment ago; ignore those.
    pub lost: Vec<ClaimId>,
    /// Running tasks whose cancellation was requested.
    pub cancelled: Vec<(ClaimId, TaskId)>,
}

impl Store {
    /// How long the lease is valid after a beat.
    pub const LEASE: Duration = Duration::from_secs(15);

    /// Renews the lease.
    pub async fn beat(&self, runner: RunnerId, beat: &Beat) -> Result<BeatReply, StoreError> {
        let lease_seconds = Store::LEASE.as_secs_f64();
        let busy = i32::try_from(beat.busy).unwrap_or(i32::MAX);
        let held = i32::try_from(beat.held).unwrap_or(i32::MAX);
        let plugins = clean_json(beat.plugins.to_string());
        let progress: BTreeMap<i64, ProgressText<'_>> = beat
            .progress
            .iter()
            .map(|(claim, task, said)| {
                (
                    task.0,
                    ProgressText {
                        claim: *claim,
                        said,
                    },
                )
            })
            .collect();
        let progress =
            clean_json(serde_json::to_string(&progress).expect("progress is numbers and text"));
        let started: Option<Vec<i64>> = beat
            .started
            .as_ref()
            .map(|tasks| tasks.iter().map(|task| task.0).collect());
        let pooled = self.config().poll_only;
        let mut lease = self.lease(Role::Beat, "renew the runner's lease").await?;
        // After the connection was made: it may be to another server.
        let look = self.live().look();
        let rows = lease
            .query(
                sql!("beat"),
                &[
                    &runner.0,
                    &lease_seconds,
                    &busy,
                    &beat.draining,
                    &plugins,
                    &progress,
                    &look.floor,
                    &pooled,
                    &started,
                    &held,
                ],
            )
            .await?;
        let alive = rows[0].get("alive");
        let draining = rows[0].get("draining");
        let claims: Vec<ClaimId> = rows[0]
            .get::<_, Vec<i64>>("claims")
            .into_iter()
            .map(ClaimId)
            .collect();
        let (orphaned, lost) = self.live().compare(&look, &claims);
        let rows = lease.query(sql!("cancelled"), &[&runner.0]).await?;
        let cancelled = rows.iter().map(pair).collect();
        Ok(BeatReply {
            alive,
            draining,
            claims,
            orphaned,
            lost,
            cancelled,
        })
    }

    /// The part of a beat that cannot wait: cancellations of this runner's tasks.
    pub async fn cancelled(&self, runner: RunnerId) -> Result<Vec<(ClaimId, TaskId)>, StoreError> {
        let rows = self
            .run(
                Role::Beat,
                "look for cancellations",
                sql!("cancelled"),
                &[&runner.0],
            )
            .await?;
        Ok(rows.iter().map(pair).collect())
    }
}

/// As the view `progress` reads it. The claim distinguishes the attempt from the previous one.
#[derive(serde::Serialize)]
struct ProgressText<'a> {
    claim: ClaimId,
    #[serde(flatten)]
    said: &'a Progress,
}

fn pair(row: &tokio_postgres::Row) -> (ClaimId, TaskId) {
    (ClaimId(row.get("claim_id")), TaskId(row.get("task_id")))
}

/// `\u0000` is valid JSON, but Postgres's text operators reject it.
fn clean_json(text: String) -> String {
    if text.contains("\\u0000") {
        text.replace("\\u0000", "\\ufffd")
    } else {
        text
    }
}
