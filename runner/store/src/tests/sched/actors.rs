//! The actors: the state of each, and its next call.

use std::time::Duration;

use crate::connection::Store;
use crate::ending::Ending;
use crate::testdb::{complete, name};
use crate::tests::sched::rng::Rng;
use crate::tests::sched::scheduler::Outcome;
use crate::tests::sched::verb::{Answer, HANDLERS, QUEUES, Verb};
use crate::tests::sched::world::{Claim, Task, World};
use pgtq_task::{
    Backoff, ClaimId, ErrorKind, Failure, NewTask, Outcome as Ended, Retries, RetryPolicy,
    Transition, decide,
};

pub(super) const RUNNERS: usize = 3;
/// Clients: two for each runner, because it beats while it works.
pub(super) const PUSHER: usize = 2 * RUNNERS;
pub(super) const OPERATOR: usize = PUSHER + 1;
pub(super) const MAINTENANCE: usize = PUSHER + 2;
pub(super) const CLOCK: usize = PUSHER + 3;
pub(super) const CLIENTS: usize = PUSHER + 4;

/// The next operation of an actor. The details depend on the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Push,
    Claim,
    Finish,
    CompleteInTask,
    Isolate,
    Beat,
    Retire,
    Expire,
    Rescue,
    Promote,
    Prune,
    Cancel,
    Retry,
    Delete,
    Pause,
    Due,
    Age,
}

/// The weight of each is the number of its occurrences.
pub(super) const OPERATIONS: &[Operation] = {
    use Operation::*;
    &[
        Push,
        Push,
        Push,
        Push,
        Claim,
        Claim,
        Claim,
        Claim,
        Claim,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        CompleteInTask,
        CompleteInTask,
        Isolate,
        Isolate,
        Beat,
        Retire,
        Expire,
        Expire,
        Rescue,
        Rescue,
        Rescue,
        Promote,
        Promote,
        Prune,
        Cancel,
        Cancel,
        Cancel,
        Cancel,
        Retry,
        Retry,
        Retry,
        Delete,
        Delete,
        Delete,
        Pause,
        Due,
        Due,
        Age,
    ]
};

/// A task that a runner believes it holds.
#[derive(Debug)]
struct Held {
    ending: Ending,
    /// Its outcome was decided, and maybe stored.
    tried: bool,
    /// An isolation was requested, with unknown result.
    unsure: bool,
}

/// One runner: its process and what it knows.
#[derive(Default)]
struct Runner {
    /// 0 means not registered.
    id: i64,
    held: Vec<Held>,
    orphaned: Vec<i64>,
    asked: Vec<(i64, i64)>,
}

/// All actors.
#[derive(Default)]
pub(super) struct Actors {
    runners: [Runner; RUNNERS],
    serial: u64,
    pub(super) unfenced: bool,
}

impl Actors {
    /// The fallback for an operation that is impossible now: an earlier one.
    pub(super) fn fallback(&self, operation: Operation, rng: &Rng, world: &World) -> Operation {
        let runner = &self.runners[rng.clone().below(RUNNERS)];
        let any = |test: fn(&Task) -> bool| world.tasks.values().any(test);
        let orphan = |claim: &Claim| !world.runners.contains_key(&claim.runner);
        let instead = match operation {
            Operation::Finish if !runner.orphaned.is_empty() => None,
            Operation::Finish | Operation::CompleteInTask | Operation::Isolate
                if runner.held.is_empty() =>
            {
                Some(Operation::Claim)
            }
            Operation::Claim if !any(|t| t.is("runnable")) => Some(Operation::Promote),
            Operation::Promote if !any(|t| t.due) => Some(Operation::Due),
            Operation::Due if !any(|t| t.is("scheduled")) => Some(Operation::Push),
            Operation::Cancel | Operation::Retry | Operation::Delete if world.tasks.is_empty() => {
                Some(Operation::Push)
            }
            Operation::Expire if world.claims_of(runner.id).is_empty() => Some(Operation::Claim),
            Operation::Rescue
                if !world.runners.values().any(|x| *x) && !world.claims.values().any(orphan) =>
            {
                Some(Operation::Expire)
            }
            _ => None,
        };
        instead.map_or(operation, |operation| self.fallback(operation, rng, world))
    }

    /// The client of this operation.
    pub(super) fn client(operation: Operation, mut rng: Rng) -> usize {
        let at = rng.below(RUNNERS);
        match operation {
            Operation::Push => PUSHER,
            Operation::Cancel | Operation::Retry | Operation::Delete | Operation::Pause => OPERATOR,
            Operation::Rescue | Operation::Promote | Operation::Prune => MAINTENANCE,
            Operation::Expire | Operation::Due | Operation::Age => CLOCK,
            Operation::Beat => 2 * at + 1,
            _ => 2 * at,
        }
    }

    /// The client and the verb of an operation, or `None`.
    pub(super) fn next(
        &mut self,
        operation: Operation,
        rng: &mut Rng,
        world: &World,
        in_use: &[i64],
    ) -> Option<(usize, Verb)> {
        let at = rng.below(RUNNERS);
        let work = 2 * at;
        // Tasks that other calls use, or otherwise the newest.
        let mut ids: Vec<i64> = in_use
            .iter()
            .copied()
            .filter(|id| world.tasks.contains_key(id))
            .collect();
        if ids.is_empty() || rng.clone().percent(30) {
            ids = world.tasks.keys().rev().copied().collect();
        }
        let some = |rng: &mut Rng| {
            (!ids.is_empty()).then(|| {
                let few: Vec<i64> = (0..=rng.below(3))
                    .map(|_| *rng.pick(&ids[..ids.len().min(8)]))
                    .collect();
                let few: std::collections::BTreeSet<i64> = few.into_iter().collect();
                few.into_iter().collect::<Vec<i64>>()
            })
        };
        let needs_id = matches!(
            operation,
            Operation::Claim
                | Operation::Finish
                | Operation::CompleteInTask
                | Operation::Isolate
                | Operation::Beat
                | Operation::Retire
        );
        if needs_id && self.runners[at].id == 0 {
            return Some((work, Verb::Register));
        }
        let runner = self.runners[at].id;
        Some(match operation {
            Operation::Push => {
                let tasks = (0..=rng.below(3)).map(|_| self.new_task(rng)).collect();
                (PUSHER, Verb::Push(tasks))
            }
            Operation::Claim => {
                let want = 1 + u32::try_from(rng.below(4)).expect("small");
                (work, Verb::Claim { runner, want })
            }
            Operation::Finish => match self.runners[at].orphaned.pop() {
                Some(claim) => (work, Verb::ReleaseClaim { runner, claim }),
                None => (work, self.finish(at, rng, 50)?),
            },
            Operation::CompleteInTask => {
                let held = self.runners[at]
                    .held
                    .iter_mut()
                    .find(|h| !h.tried && !h.unsure)?;
                held.tried = true;
                held.ending.transition = Transition::Complete { result: "2".into() };
                let ending = Box::new(held.ending.clone());
                (work, Verb::CompleteInTask { runner, ending })
            }
            Operation::Isolate => {
                let held = &self.runners[at].held;
                let unsure = held.iter().find(|h| h.unsure);
                let one = unsure.or_else(|| held.iter().find(|h| !h.tried))?;
                let (claim, task) = (one.ending.claim.0, one.ending.task.id.0);
                (
                    work,
                    Verb::Isolate {
                        runner,
                        claim,
                        task,
                    },
                )
            }
            Operation::Beat => (work + 1, Verb::Beat { runner }),
            Operation::Retire => (work, Verb::Retire { runner }),
            Operation::Expire => (
                CLOCK,
                Verb::Expire {
                    runner: (runner != 0).then_some(runner)?,
                },
            ),
            Operation::Rescue => (
                MAINTENANCE,
                Verb::Rescue {
                    orphans: rng.percent(50),
                },
            ),
            Operation::Promote => (
                MAINTENANCE,
                Verb::Promote {
                    limit: *rng.pick(&[1, 1000]),
                },
            ),
            Operation::Prune => (MAINTENANCE, Verb::Prune),
            Operation::Cancel => (OPERATOR, Verb::Cancel(some(rng)?)),
            Operation::Retry => (OPERATOR, Verb::Retry(some(rng)?)),
            Operation::Delete => (OPERATOR, Verb::Delete(some(rng)?)),
            Operation::Pause => {
                let on = world.paused.is_empty();
                let (kind, name) = *rng.pick(&[("queue", QUEUES[1]), ("handler", HANDLERS[0])]);
                (OPERATOR, Verb::Pause { on, kind, name })
            }
            Operation::Due => (CLOCK, Verb::Due),
            Operation::Age => (CLOCK, Verb::Age),
        })
    }

    fn new_task(&mut self, rng: &mut Rng) -> NewTask {
        self.serial += 1;
        let keyed = rng.percent(40);
        NewTask {
            queue: Some(name(rng.pick::<&str>(&QUEUES))),
            delay: rng.percent(25).then_some(Duration::from_secs(3_600)),
            retries: *rng.pick(&[
                None,
                Some(Retries::Limited(0)),
                Some(Retries::Limited(1)),
                Some(Retries::Forever),
            ]),
            key: keyed.then(|| format!("k{}", rng.below(4))),
            ..NewTask::new(
                name(rng.pick::<&str>(&HANDLERS)),
                format!("{{\"n\": {}}}", self.serial),
            )
        }
    }

    /// Finishes some of a runner's tasks; all with 100 `percent`.
    fn finish(&mut self, at: usize, rng: &mut Rng, percent: usize) -> Option<Verb> {
        let mut endings = Vec::new();
        let mut again = false;
        for i in 0..self.runners[at].held.len() {
            if self.runners[at].held[i].unsure
                || !rng.percent(percent.max(if i == 0 { 70 } else { 0 }))
            {
                continue;
            }
            if self.runners[at].held[i].tried {
                again |= !self.runners[at].held[i].ending.recorded;
            } else {
                self.decide(at, i, rng);
            }
            endings.push(self.runners[at].held[i].ending.clone());
        }
        // The mutant changes the statement that stores only final outcomes.
        let simple = |e: &Ending| {
            !e.recorded && e.transition.state().is_final() && e.record.children.is_empty()
        };
        let fenced = !self.unfenced || again || !endings.iter().all(simple);
        let runner = self.runners[at].id;
        (!endings.is_empty()).then_some(Verb::Finish {
            runner,
            endings,
            again,
            fenced,
        })
    }

    fn decide(&mut self, at: usize, i: usize, rng: &mut Rng) {
        let children = (0..if rng.percent(25) { 1 + rng.below(2) } else { 0 })
            .map(|_| self.new_task(rng))
            .collect();
        let runner = &mut self.runners[at];
        let ending = &mut runner.held[i].ending;
        let failure = Failure::new(ErrorKind::Error, "no luck");
        let hour = Duration::from_secs(3_600);
        let outcome = match rng.below(10) {
            0..=3 => Ended::Complete { result: "1".into() },
            4..=5 => Ended::Retry {
                failure,
                after: None,
            },
            6 => Ended::Fail { failure },
            7 => Ended::Snooze { after: hour },
            8 => Ended::Cancel {
                reason: "enough".into(),
            },
            _ => Ended::Release,
        };
        let asked = runner.asked.contains(&(ending.claim.0, ending.task.id.0));
        // So long that it never ends during a test.
        let backoff = Backoff {
            first_ms: 36_000_000,
            max_ms: 36_000_000,
        };
        let policy = RetryPolicy {
            retries: Retries::Limited(2),
            backoff,
        };
        ending.transition = decide(&ending.task, &policy, outcome, asked, 0.5);
        if let (Transition::Retry { delay, .. }, true) = (&mut ending.transition, rng.percent(30)) {
            *delay = Duration::ZERO;
        }
        ending.record.children = children;
    }

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

    /// The remaining work of a runner until it holds nothing; then `None`.
    pub(super) fn wind_up(&mut self, at: usize, rng: &mut Rng) -> Option<(usize, Verb)> {
        let work = 2 * at;
        let runner = &mut self.runners[at];
        let id = runner.id;
        if id == 0 {
            runner.held.clear();
            return None;
        }
        if let Some(held) = runner.held.iter().find(|h| h.unsure) {
            let (claim, task) = (held.ending.claim.0, held.ending.task.id.0);
            return Some((
                work,
                Verb::Isolate {
                    runner: id,
                    claim,
                    task,
                },
            ));
        }
        if let Some(claim) = runner.orphaned.pop() {
            return Some((work, Verb::ReleaseClaim { runner: id, claim }));
        }
        self.finish(at, rng, 100).map(|verb| (work, verb))
    }

    /// The id of a runner; 0 if it is not registered.
    pub(super) fn id(&self, at: usize) -> i64 {
        self.runners[at].id
    }

    /// The store of a client: a runner has two clients.
    pub(super) fn store_of(client: usize, stores: &[Store]) -> &Store {
        &stores[if client < PUSHER {
            client / 2
        } else {
            client - RUNNERS
        }]
    }
}
