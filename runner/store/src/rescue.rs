//! Rescue: the tasks of lost runners go back, in steps that come to an end.
//!
//! A claim may be large, and a hundred of them larger than a server moves within a
//! statement's time. A step that fails is therefore repeated with fewer claims, and one
//! claim with more time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::connection::Role;
use super::maintain::count;
use super::sql::sql;
use super::unreadable::log_unreadable_claim;
use super::{Store, StoreError};
use pgtq_task::MAX_CRASHES;

/// What [`Store::rescue`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rescued {
    /// Runners whose lease had run out: id and name.
    pub runners: Vec<(i64, String)>,
    /// Tasks made runnable again.
    pub tasks: u64,
    /// Tasks failed because too many runners died under them.
    pub failed: u64,
    /// Tasks cancelled because somebody had asked for it.
    pub cancelled: u64,
}

/// Claims in one step, when all is well.
const MOST: i32 = 100;
/// Time for one step, when all is well.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for a step at most: longer than a server takes for the largest claim.
const MOST_PATIENCE: Duration = Duration::from_secs(960);

/// How large the next step is, and how long it may take.
#[derive(Debug, Default)]
pub(super) struct Stride(Mutex<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    most: i32,
    patience: Duration,
}

impl Default for Step {
    fn default() -> Self {
        Step {
            most: MOST,
            patience: PATIENCE,
        }
    }
}

impl Step {
    /// After one that failed, for whatever reason.
    fn smaller(self) -> Step {
        match self.most {
            1 => Step {
                patience: (self.patience * 2).min(MOST_PATIENCE),
                ..self
            },
            most => Step {
                most: (most / 4).max(1),
                ..self
            },
        }
    }

    /// After one that succeeded.
    fn larger(self) -> Step {
        Step {
            most: (self.most * 2).min(MOST),
            patience: (self.patience / 2).max(PATIENCE),
        }
    }
}

impl Stride {
    fn next(&self) -> Step {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, step: Step) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

impl Store {
    /// Takes back the claims of runners whose lease ran out; at most 100 claims in one
    /// call, and fewer of large ones or after an error, so call again at once while it
    /// finds something. Takes 30 s at most, and up to 16 minutes for a claim that was
    /// too large for less. A claim that cannot be read is named in the log and left out
    /// for ten minutes.
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        self.rescue_with(MAX_CRASHES).await
    }

    /// As [`Store::rescue`]; a task that reaches `max_crashes` is failed. Crashes that
    /// are proven only now are counted with it.
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
        let orphans = self.look_for_orphans();
        let max_crashes = i32::try_from(max_crashes).unwrap_or(i32::MAX - 1);
        // Apart from prune, which may take minutes.
        let verb = "rescue the tasks of dead runners";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shrinks_to_one_claim_and_then_takes_longer() {
        let mut step = Step::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            step = step.smaller();
            seen.push((step.most, step.patience.as_secs()));
        }
        assert_eq!(
            seen,
            [(25, 30), (6, 30), (1, 30), (1, 60), (1, 120), (1, 240)]
        );
        for _ in 0..20 {
            step = step.smaller();
        }
        assert_eq!(step.patience, MOST_PATIENCE);
        for _ in 0..10 {
            step = step.larger();
        }
        assert_eq!(step, Step::default());
    }
}
