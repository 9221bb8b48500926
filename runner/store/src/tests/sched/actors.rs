//! The actors: the state of each, and its next call.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::name;
use crate::tests::sched::operation::{CLOCK, MAINTENANCE, OPERATOR, Operation, PUSHER, RUNNERS};
use crate::tests::sched::rng::Rng;
use crate::tests::sched::verb::{HANDLERS, QUEUES, Verb};
use crate::tests::sched::world::{Claim, Task, World};
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::{
    Backoff, ErrorKind, Failure, NewTask, Outcome as Ended, Retries, RetryPolicy, Transition,
    decide,
};

/// A task that a runner believes it holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ending: OutcomeRecord,
    /// Its outcome was decided, and maybe stored.
    pub(super) tried: bool,
    /// An isolation was requested, with unknown result.
    pub(super) unsure: bool,
}

/// One runner: its process and what it knows.
#[derive(Default)]
pub(super) struct Runner {
    /// 0 means not registered.
    pub(super) id: i64,
    pub(super) held: Vec<Held>,
    pub(super) orphaned: Vec<i64>,
    pub(super) asked: Vec<(i64, i64)>,
}

/// All actors.
#[derive(Default)]
pub(super) struct Actors {
    pub(super) runners: [Runner; RUNNERS],
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
        let simple = |e: &OutcomeRecord| {
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
