//! What runners do with their tasks.

use std::collections::BTreeSet;

use crate::tests::sched::model::changes::counted;
use crate::tests::sched::model::{Turn, Verdict, ensure};
use crate::tests::sched::verb::Answer;
use crate::tests::sched::world::{Claim, World};
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::Transition;

impl Turn<'_> {
    pub(super) fn finish(
        &mut self,
        runner: i64,
        endings: &[OutcomeRecord],
        again: bool,
        answer: Option<&Answer>,
    ) -> Verdict {
        let mut stale = BTreeSet::new();
        let mut children = Vec::new();
        for ending in endings {
            let pair @ (claim, task) = (ending.claim.0, ending.task.id.0);
            if !self.seen.asked.contains(&pair) {
                self.next.asked.remove(&pair);
            }
            if ending.recorded || again && is_recorded(self.before, pair) {
                continue;
            }
            if self
                .before
                .claims
                .get(&claim)
                .is_none_or(|c| c.runner != runner)
            {
                stale.insert(pair);
                continue;
            }
            ensure!(
                self.before.runs_under(claim, task),
                "{task} does not run under {claim}: a fault of the schedule"
            );
            self.end(ending)?;
            if matches!(ending.transition, Transition::Complete { .. }) {
                children.extend(
                    ending
                        .record
                        .children
                        .iter()
                        .map(|child| pgtq_task::NewTask {
                            parent: Some(ending.task.id),
                            ..child.clone()
                        }),
                );
            }
        }
        for child in &children {
            self.push_one(child)?;
        }
        for ending in endings {
            self.close_if_empty(ending.claim.0);
        }
        match answer {
            Some(Answer::Finished { stale: reported }) => {
                ensure!(
                    *reported == stale,
                    "stale are {reported:?}, should be {stale:?}"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, ending: &OutcomeRecord) -> Verdict {
        let pair @ (claim, task) = (ending.claim.0, ending.task.id.0);
        let was = self.before.tasks.get(&task).ok_or("runs")?;
        let counts = !matches!(
            ending.transition,
            Transition::Snooze { .. } | Transition::Release
        );
        let attempts = was.attempts + i32::from(counts);
        let place = ending.transition.state().as_str();
        let back = !ending.transition.state().is_final();
        let asked = back && self.before.asked.contains(&pair);
        // A cancel that committed while the outcomes were stored comes too late.
        let cancelled = asked && (!self.shared || self.place(task) == "cancelled");
        self.put(
            task,
            if cancelled { "cancelled" } else { place },
            (cancelled || !back).then_some(claim),
        );
        let now = self.next.tasks.get_mut(&task).ok_or("runs")?;
        now.attempts = attempts;
        if !matches!(ending.transition, Transition::Release) {
            now.crashes = 0;
        }
        let kind = match &ending.transition {
            Transition::Fail { failure } | Transition::Retry { failure, .. } => {
                Some(failure.kind.as_str())
            }
            Transition::Snooze { .. } => Some("snooze"),
            Transition::Release => Some("release"),
            _ => None,
        };
        if back && !cancelled {
            self.note(task, Some(claim), kind.unwrap_or("?"), was.attempts + 1, 0);
        } else if !back {
            now.error = kind.map(ToOwned::to_owned);
        }
        Ok(())
    }

    pub(super) fn complete_in_task(
        &mut self,
        runner: i64,
        ending: &OutcomeRecord,
        answer: Option<&Answer>,
    ) -> Verdict {
        let (claim, task) = (ending.claim.0, ending.task.id.0);
        let held = self.before.runners.contains_key(&runner)
            && self
                .before
                .claims
                .get(&claim)
                .is_some_and(|c| c.runner == runner);
        if held {
            ensure!(
                self.before.runs_under(claim, task),
                "{task} does not run: a fault of the schedule"
            );
            self.end(ending)?;
            for child in &ending.record.children {
                let parent = Some(ending.task.id);
                self.push_one(&pgtq_task::NewTask {
                    parent,
                    ..child.clone()
                })?;
            }
        }
        match answer {
            Some(Answer::Held(reported)) if *reported != held => {
                Err(format!("reported {reported}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn isolate(
        &mut self,
        runner: i64,
        claim: i64,
        task: i64,
        answer: Option<&Answer>,
    ) -> Verdict {
        let held = self
            .before
            .claims
            .get(&claim)
            .is_some_and(|c| c.runner == runner)
            && self.before.runs_under(claim, task);
        let mut alone = None;
        if held {
            let made = self
                .seen
                .claims
                .keys()
                .copied()
                .find(|id| !self.before.claims.contains_key(id));
            let new = made.ok_or("the task was not isolated")?;
            alone = made;
            self.next
                .claims
                .insert(new, Claim::new(new, runner, true, vec![task]));
            self.put(task, "running", Some(new));
            let number = self.before.tasks[&task].attempts + 1;
            self.note(task, Some(claim), "isolate", number, 0);
            let asked = self.next.asked.contains(&(claim, task));
            if asked && (!self.shared || self.seen.asked.contains(&(new, task))) {
                self.next.asked.remove(&(claim, task));
                self.next.asked.insert((new, task));
            }
        }
        self.close_if_empty(claim);
        match answer {
            Some(Answer::Isolated(reported)) if *reported != alone => {
                Err(format!("reported {reported:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Releases a claim, or all claims of a runner.
    pub(super) fn release(
        &mut self,
        runner: i64,
        only: Option<i64>,
        answer: Option<&Answer>,
    ) -> Verdict {
        let mut n = 0;
        for claim in self.before.claims_of(runner) {
            if only.is_some_and(|one| one != claim)
                || self.shared && self.seen.claims.contains_key(&claim)
            {
                continue;
            }
            for task in self.before.running_in(claim) {
                self.put(task, "runnable", None);
                n += 1;
            }
            self.next.claims.remove(&claim);
        }
        counted(answer, n)
    }

    pub(super) fn beat(&mut self, runner: i64, answer: Option<&Answer>) -> Verdict {
        let is_there = self.next.runners.contains_key(&runner);
        if is_there {
            self.next.runners.insert(runner, false);
        }
        // The runner is alive: its reports are withdrawn.
        let seen = &self.seen.reports;
        let shared = self.shared;
        self.next
            .reports
            .retain(|report| report.2 != runner || shared && seen.contains(report));
        let Some(Answer::Beat {
            alive,
            claims,
            orphaned,
            lost,
            asked,
        }) = answer
        else {
            return Ok(());
        };
        ensure!(*alive == is_there, "alive is {alive}");
        if self.shared {
            return Ok(());
        }
        let held = self.before.claims_of(runner);
        ensure!(
            claims.iter().all(|c| held.contains(c)),
            "reported the claims {claims:?}, holds {held:?}"
        );
        ensure!(
            orphaned.iter().all(|c| held.contains(c)),
            "the orphaned claims {orphaned:?} are not held"
        );
        ensure!(
            lost.iter().all(|c| !held.contains(c)),
            "{lost:?} are not lost"
        );
        let wanted: Vec<(i64, i64)> = self
            .before
            .asked
            .iter()
            .copied()
            .filter(|(c, _)| held.contains(c))
            .collect();
        let mut reported = asked.clone();
        reported.sort_unstable();
        ensure!(
            reported == wanted,
            "reported the cancellations {reported:?}, should be {wanted:?}"
        );
        Ok(())
    }

    pub(super) fn register(&mut self, answer: Option<&Answer>) -> Verdict {
        let made = self
            .seen
            .runners
            .keys()
            .copied()
            .find(|id| !self.before.runners.contains_key(id));
        let id = made.ok_or("no runner was registered")?;
        self.next.runners.insert(id, false);
        match answer {
            Some(Answer::Runner(reported)) if *reported != id => {
                Err(format!("reported {reported}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn close_if_empty(&mut self, claim: i64) {
        if self.next.running_in(claim).is_empty() && !self.seen.claims.contains_key(&claim) {
            self.next.claims.remove(&claim);
        }
    }
}

fn is_recorded(world: &World, (claim, task): (i64, i64)) -> bool {
    let ended = |t: &crate::tests::sched::world::Task| t.is_final() && t.claim == Some(claim);
    world.tasks.get(&task).is_some_and(ended)
        || world
            .notes
            .keys()
            .any(|n| n.task == task && n.claim == Some(claim))
}
