//! What is done for lost runners.

use crate::tests::sched::model::{Turn, Verdict, ensure};
use crate::tests::sched::verb::Answer;
use crate::tests::sched::world::World;

impl Turn<'_> {
    pub(super) fn rescue(&mut self, orphans: bool, answer: Option<&Answer>) -> Verdict {
        let (before, seen, shared) = (self.before, self.seen, self.shared);
        let dead: Vec<i64> = before
            .runners
            .iter()
            .filter(|(_, x)| **x)
            .map(|(id, _)| *id)
            .collect();
        let orphans = orphans || !dead.is_empty();
        // No runner in these schedules has been registered long enough to prove a crash.
        let n_failed = 0;
        let (mut n_again, mut n_cancelled) = (0, 0);
        for (id, claim) in &before.claims {
            let may = dead.contains(&claim.runner)
                || orphans && !before.runners.contains_key(&claim.runner);
            let taken = !seen.claims.contains_key(id);
            ensure!(
                may || !taken,
                "rescued a claim of a runner that lives: {claim:?}"
            );
            ensure!(!may || taken || shared, "not rescued: {claim:?}");
            if !taken {
                continue;
            }
            for task in before.running_in(*id) {
                let was = &before.tasks[&task];
                // Nothing is known of a removed runner; of one that an earlier rescue has seen,
                // or a rescue sees while other transactions are open, not everything.
                let report = (task, *id, claim.runner, claim.solo);
                let unsure = shared || before.judged.contains(&claim.runner);
                let was_there = before.runners.contains_key(&claim.runner);
                let started = was_there && (!unsure || has_note(seen, task, *id));
                let n_open = before.reports.iter().filter(|r| r.0 == task).count();
                let waits = started && (claim.solo || n_open >= 2);
                let asked = before.asked.contains(&(*id, task));
                // A crossing cancel leaves no claim in history: see below.
                let honoured = asked
                    && (!shared || seen.tasks.get(&task).is_some_and(|t| t.claim == Some(*id)));
                let is_scheduled = match shared {
                    true => seen.tasks.get(&task).is_some_and(|t| t.is("scheduled")),
                    false => waits,
                };
                let place = if honoured {
                    "cancelled"
                } else if is_scheduled {
                    "scheduled"
                } else {
                    "runnable"
                };
                self.put(task, place, (place == "cancelled").then_some(*id));
                if place == "cancelled" {
                    n_cancelled += 1;
                    continue;
                }
                n_again += 1;
                if started {
                    self.note(task, Some(*id), "lost", was.attempts + 1, 0);
                    self.next.reports.insert(report);
                }
            }
            self.next.claims.remove(id);
        }
        for runner in dead {
            let empty = self.next.claims_of(runner).is_empty();
            let gone = !seen.runners.contains_key(&runner);
            // It may have claimed meanwhile: an orphan, which a later rescue takes.
            if gone && shared || empty && !shared {
                self.next.runners.remove(&runner);
            }
        }
        self.cross();
        match answer {
            Some(Answer::Rescued {
                tasks,
                failed,
                cancelled,
            }) => {
                let reported = (*tasks, *failed, *cancelled);
                ensure!(
                    reported == (n_again, n_failed, n_cancelled),
                    "reported {reported:?}, should be {:?}",
                    (n_again, n_failed, n_cancelled)
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Cancellations of tasks that have left the claim named in the request: the task is
    /// cancelled where it is now.
    fn cross(&mut self) {
        for (claim, task) in self.before.asked.clone() {
            let left = !self.next.runs_under(claim, task);
            let gone = !self.seen.asked.contains(&(claim, task));
            if left && (gone || !self.shared) {
                self.next.asked.remove(&(claim, task));
                self.cancel_one(task);
                if self.shared {
                    // Requests the cancellation again under a claim that the task has left
                    // meanwhile.
                    let again = self.seen.asked.iter().filter(|pair| pair.1 == task);
                    self.next.asked.extend(again);
                }
            }
        }
    }
}

fn has_note(world: &World, task: i64, claim: i64) -> bool {
    let mut notes = world.notes.keys();
    notes.any(|n| n.task == task && n.claim == Some(claim) && n.kind == "lost")
}
