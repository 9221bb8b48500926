//! Rescue: returns the tasks of lost runners to the queue, in steps of bounded size.
//!
//! A claim may be large, and a hundred of them larger than a server can move within the
//! statement timeout. A step that fails is therefore repeated with fewer claims, and a step of
//! one claim with more time.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::stride::Step;
use crate::connect::unreadable::log_unreadable_claim;
use crate::sql::sql;
use crate::verbs::maintain::count;
use pgtq_task::MAX_CRASHES;

/// The result of [`Store::rescue`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rescued {
    /// Runners whose lease had expired: id and name.
    pub runners: Vec<(i64, String)>,
    /// Tasks made runnable again.
    pub tasks: u64,
    /// Tasks that failed after too many runner crashes.
    pub failed: u64,
    /// Tasks cancelled because their cancellation had been requested.
    pub cancelled: u64,
}

impl Store {
    /// Releases the claims of runners whose lease has expired; at most 100 claims in one call,
    /// and fewer of large ones or after an error, so call again at once while it finds some.
    /// Takes at most 30 s, or up to 16 minutes for a claim that was too large for that. A claim
    /// that cannot be read is logged and skipped for ten minutes.
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        self.rescue_with(MAX_CRASHES).await
    }

    /// As [`Store::rescue`]; a task that reaches `max_crashes` fails. Crashes that are confirmed
    /// only now are included.
    pub async fn rescue_with(&self, max_crashes: u32) -> Result<Rescued, StoreError> {
        let step = self.stride().next();
        let rescued = self.rescue_step(step, max_crashes).await;
        self.stride().note(match &rescued {
            Ok(_) => step.larger(),
            Err(_) => step.smaller(),
        });
        rescued
    }

    async fn rescue_step(&self, step: Step, max_crashes: u32) -> Result<Rescued, StoreError> {
        let orphans = self.is_orphan_search_due();
        let max_crashes = i32::try_from(max_crashes).unwrap_or(i32::MAX - 1);
        // Its own role, separate from prune, which may take minutes.
        let verb = "rescue the tasks of lost runners";
        let known = self.unreadable_claims().ids();
        let mut lease = self.lease(Role::Rescue, verb).await?;
        lease.begin_for(step.patience).await?;
        let rows = lease
            .query(
                sql!("rescue"),
                &[&orphans, &step.most, &max_crashes, &known],
            )
            .await?;
        lease.commit().await?;
        for claim in rows[0].get::<_, Vec<i64>>("left_out") {
            log_unreadable_claim(claim);
            self.unreadable_claims().add(claim);
        }
        let ids: Vec<i64> = rows[0].get("runner_ids");
        let names: Vec<String> = rows[0].get("runner_names");
        Ok(Rescued {
            runners: ids.into_iter().zip(names).collect(),
            tasks: count(&rows[0], "tasks"),
            failed: count(&rows[0], "failed"),
            cancelled: count(&rows[0], "cancelled"),
        })
    }
}
