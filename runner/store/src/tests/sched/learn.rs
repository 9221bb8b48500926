//! What an actor learns from the answer to its call.

use crate::testdb::complete;
use crate::tests::sched::actors::{Actors, Held};
use crate::tests::sched::flight::Outcome;
use crate::tests::sched::operation::PUSHER;
use crate::tests::sched::verb::{Answer, Verb};
use crate::tests::sched::world::World;
use pgtq_task::{ClaimId, Transition};

impl Actors {
    /// Updates the actor of a client with the result of its call.
    pub(super) fn learn(&mut self, client: usize, verb: &Verb, outcome: &Outcome, seen: &World) {
        if client >= PUSHER {
            return;
        }
        let runner = &mut self.runners[client / 2];
        let answer = match outcome {
            Outcome::Answered(answer) => Some(answer),
            _ => None,
        };
        match (verb, answer) {
            (_, Some(Answer::Claimed(Some((claim, tasks))))) => {
                let held = tasks.iter().map(|task| Held {
                    ending: complete(ClaimId(*claim), task.clone()),
                    tried: false,
                    unsure: false,
                });
                runner.held.extend(held);
            }
            (Verb::Finish { endings, .. }, _) => {
                let sent = |h: &Held| {
                    endings
                        .iter()
                        .any(|e| (e.claim, e.task.id) == (h.ending.claim, h.ending.task.id))
                };
                if answer.is_some() {
                    runner.held.retain(|h| !sent(h));
                } else {
                    // Exactly these are sent again: one of them may be stored.
                    runner
                        .held
                        .iter_mut()
                        .filter(|h| sent(h))
                        .for_each(|h| h.tried = true);
                }
            }
            (Verb::CompleteInTask { ending, .. }, _) => {
                let pair = (ending.claim, ending.task.id);
                let Some(i) = runner
                    .held
                    .iter()
                    .position(|h| (h.ending.claim, h.ending.task.id) == pair)
                else {
                    return;
                };
                // Without an answer it is looked up: committed, or rolled back and released.
                let stands = seen
                    .tasks
                    .get(&pair.1.0)
                    .is_some_and(|t| t.is("complete") && t.claim == Some(pair.0.0));
                match answer {
                    Some(Answer::Held(false)) => drop(runner.held.remove(i)),
                    _ if stands => runner.held[i].ending.recorded = true,
                    _ => {
                        runner.held[i].ending.transition = Transition::Release;
                        runner.held[i].ending.record.children.clear();
                    }
                }
            }
            (Verb::Isolate { claim, task, .. }, reported) => {
                let pair = (*claim, *task);
                let Some(i) = runner
                    .held
                    .iter()
                    .position(|h| (h.ending.claim.0, h.ending.task.id.0) == pair)
                else {
                    return;
                };
                match reported {
                    Some(Answer::Isolated(Some(new))) => {
                        runner.held[i].ending.claim = ClaimId(*new);
                        runner.held[i].unsure = false;
                    }
                    Some(_) => drop(runner.held.remove(i)),
                    None => runner.held[i].unsure = true,
                }
            }
            (Verb::ReleaseClaim { claim, .. }, None) => runner.orphaned.push(*claim),
            (
                _,
                Some(Answer::Beat {
                    alive,
                    orphaned,
                    asked,
                    lost,
                    ..
                }),
            ) => {
                if !alive {
                    runner.id = 0;
                }
                runner.orphaned = orphaned.clone();
                runner.asked = asked.clone();
                // Half of the lost tasks are stopped; the others end too late.
                runner
                    .held
                    .retain(|h| !lost.contains(&h.ending.claim.0) || h.ending.task.id.0 % 2 == 0);
            }
            (Verb::Retire { .. }, Some(_)) => {
                runner.id = 0;
                runner.orphaned.clear();
            }
            (Verb::Register, Some(Answer::Runner(id))) => runner.id = *id,
            _ => {}
        }
    }
}
