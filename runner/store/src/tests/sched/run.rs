//! Runs a schedule, checks it after every commit, and reduces it when it fails.

use std::collections::BTreeSet;

use crate::tests::sched::actors::Actors;
use crate::tests::sched::flight::{Doing, Fate, Outcome, Pause};
use crate::tests::sched::model::judge;
use crate::tests::sched::operation::{
    CLOCK, MAINTENANCE, OPERATOR, Operation, PUSHER, RUNNERS, is_alone,
};
use crate::tests::sched::rng::Rng;
use crate::tests::sched::schedule::Step;
use crate::tests::sched::scheduler::Scheduler;
use crate::tests::sched::tally::Tally;
use crate::tests::sched::verb::{Answer, HANDLERS, QUEUES, Verb};
use crate::tests::sched::world::World;

/// An error that is neither a valid answer nor retryable.
pub(super) const ERROR: &str = "an unexpected error";

/// One run of a schedule.
pub(super) struct Run<'a> {
    scheduler: &'a mut Scheduler,
    actors: Actors,
    world: World,
    pub(super) tally: Tally,
    /// The last call ended in an error.
    interrupted: bool,
    /// A description of the run, for humans.
    pub(super) script: Vec<String>,
}

impl<'a> Run<'a> {
    pub(super) async fn new(scheduler: &'a mut Scheduler, unfenced: bool) -> Self {
        let full = scheduler.n_runs.is_multiple_of(64);
        scheduler.n_runs += 1;
        scheduler.clear(full).await;
        let mut actors = Actors::default();
        actors.unfenced = unfenced;
        Run {
            scheduler,
            actors,
            world: World::default(),
            tally: Tally::default(),
            interrupted: false,
            script: Vec::new(),
        }
    }

    /// Runs the steps, then finishes everything, and returns the first violation.
    pub(super) async fn execute(&mut self, steps: &[Step]) -> Result<(), String> {
        self.tally.schedules += 1;
        let verdict = self.act(steps).await;
        if verdict.is_err() {
            self.sweep().await;
        }
        verdict
    }

    async fn act(&mut self, steps: &[Step]) -> Result<(), String> {
        for at in 0..RUNNERS {
            self.alone(2 * at, Verb::Register).await?;
        }
        for (n, step) in steps.iter().enumerate() {
            self.tally.steps += 1;
            while let Some(due) = self.scheduler.flights.iter().position(|f| f.until <= n) {
                self.land(due).await?;
            }
            let mut rng = step.rng.clone();
            let operation = self.actors.fallback(step.operation, &rng, &self.world);
            let client = Actors::client(operation, rng.clone());
            let in_use: Vec<i64> = self
                .scheduler
                .flights
                .iter()
                .flat_map(|f| f.verb.tasks())
                .collect();
            self.finish_conflicting(client, operation).await?;
            let Some((client, verb)) = self.actors.next(operation, &mut rng, &self.world, &in_use)
            else {
                continue;
            };
            // A runner that should beat but is gone registers.
            self.finish_conflicting(client, operation).await?;
            let pause = if is_alone(operation) {
                Pause::Nowhere
            } else {
                step.pause
            };
            let held = (pause != Pause::Nowhere).then_some((step.fate, n + step.open_for));
            self.launch(client, verb, pause, held).await?;
        }
        while !self.scheduler.flights.is_empty() {
            self.land(0).await?;
        }
        self.drain().await
    }

    /// Finishes calls that must not run concurrently with the next.
    async fn finish_conflicting(
        &mut self,
        client: usize,
        operation: Operation,
    ) -> Result<(), String> {
        loop {
            let flights = self.scheduler.flights.iter();
            let busy = flights.enumerate().find(|(_, f)| {
                let mine = f.client == client;
                // Retiring and registering are the end and the beginning of a process.
                let life = |verb: &Verb| matches!(verb, Verb::Retire { .. } | Verb::Register);
                let same_runner =
                    f.client < PUSHER && client < PUSHER && f.client / 2 == client / 2;
                mine || is_alone(operation)
                    || same_runner && (life(&f.verb) || operation == Operation::Retire)
            });
            let Some((at, _)) = busy else { return Ok(()) };
            self.land(at).await?;
        }
    }

    async fn launch(
        &mut self,
        client: usize,
        verb: Verb,
        pause: Pause,
        held: Option<(Fate, usize)>,
    ) -> Result<(), String> {
        *self.tally.kinds.entry(verb.kind()).or_default() += 1;
        for other in &self.scheduler.flights {
            self.tally.pairs.insert((other.verb.kind(), verb.kind()));
        }
        self.script.push(format!(
            "{verb}{}",
            match held {
                Some((fate, _)) => format!("   [held {pause:?}, then {fate:?}]"),
                None => String::new(),
            }
        ));
        let gated = held.is_some() || !self.scheduler.flights.is_empty();
        let at = self.scheduler.launch(client, verb, pause, gated).await;
        if let Some((fate, until)) = held {
            self.scheduler.flights[at].fate = fate;
            self.scheduler.flights[at].until = until;
        }
        loop {
            let at = self.find(client);
            match self.scheduler.doing(at, false).await {
                Doing::Ended => return self.landed(at).await,
                Doing::AtGate if held.is_some() => {
                    self.tally.held += 1;
                    return Ok(());
                }
                Doing::AtGate => return self.land(at).await,
                Doing::Waits(holders) => {
                    self.tally.waited += 1;
                    self.script.push(format!(
                        "    waits for: {}",
                        self.scheduler.flights[holders[0]].verb
                    ));
                    self.land(holders[0]).await?;
                }
            }
        }
    }

    fn find(&self, client: usize) -> usize {
        let mut flights = self.scheduler.flights.iter();
        flights
            .position(|f| f.client == client)
            .expect("the call is running")
    }

    /// Continues a held transaction according to its fate, until its end.
    async fn land(&mut self, at: usize) -> Result<(), String> {
        let flight = &self.scheduler.flights[at];
        let (client, fate) = (flight.client, flight.fate);
        self.script.push(format!("    {fate:?}: {}", flight.verb));
        self.scheduler.release(at).await;
        loop {
            let at = self.find(client);
            match self.scheduler.doing(at, fate == Fate::LoseAnswer).await {
                Doing::Ended => return self.landed(at).await,
                // It started another transaction after the held one.
                Doing::AtGate => self.scheduler.open(client).await,
                Doing::Waits(holders) => {
                    self.script.push(format!(
                        "    waits for: {}",
                        self.scheduler.flights[holders[0]].verb
                    ));
                    Box::pin(self.land(holders[0])).await?;
                }
            }
        }
    }

    /// Checks the result of a call, and passes it to its actor.
    async fn landed(&mut self, at: usize) -> Result<(), String> {
        if self.scheduler.has_failed(at) {
            // An error is reported before its locks are released.
            while !matches!(self.scheduler.doing(at, true).await, Doing::Ended) {}
        }
        let (flight, outcome) = self.scheduler.take(at).await;
        let outcome = outcome.map_err(|error| format!("{}: {error}", flight.verb))?;
        self.tally.transactions += 1;
        let seen = World::look(&self.scheduler.observer).await?;
        let blame = |error: String| format!("after {}: {error}", flight.verb);
        match &outcome {
            Outcome::Answered(answer) => {
                if let Answer::Finished { stale } = answer {
                    self.tally.stale += stale.len();
                }
                judge(
                    &self.world,
                    &flight.verb,
                    &seen,
                    flight.shared,
                    Some(answer),
                )
                .map_err(blame)?;
            }
            Outcome::Lost => {
                self.tally.lost += 1;
                if seen != self.world {
                    judge(&self.world, &flight.verb, &seen, flight.shared, None).map_err(blame)?;
                }
            }
            Outcome::Interrupted(error) => {
                self.tally.interrupted += 1;
                self.tally.deadlocks += usize::from(error.contains("deadlock"));
                self.script.push(format!("    {error}"));
                let lines = self.world.differences(&seen);
                if !lines.is_empty() {
                    return Err(blame(format!(
                        "it was interrupted, but:\n  {}",
                        lines.join("\n  ")
                    )));
                }
            }
        }
        self.interrupted = matches!(outcome, Outcome::Interrupted(_));
        self.actors
            .learn(flight.client, &flight.verb, &outcome, &seen);
        self.world = seen;
        for other in &mut self.scheduler.flights {
            other.shared = true;
        }
        Ok(())
    }

    async fn alone(&mut self, client: usize, verb: Verb) -> Result<(), String> {
        let safe_to_repeat = !matches!(
            verb,
            Verb::Push(_)
                | Verb::Claim { .. }
                | Verb::Finish { .. }
                | Verb::Isolate { .. }
                | Verb::ReleaseClaim { .. }
        );
        for _ in 0..3 {
            self.launch(client, verb.clone(), Pause::Nowhere, None)
                .await?;
            // A killed connection is used once more.
            if !self.interrupted || !safe_to_repeat {
                break;
            }
        }
        Ok(())
    }

    /// Nothing is lost: every runner finishes its tasks, new runners do the rest.
    async fn drain(&mut self) -> Result<(), String> {
        let mut rng = Rng::new(7);
        for (kind, names) in [("queue", QUEUES), ("handler", HANDLERS)] {
            for name in names {
                if !self.world.paused.contains(&format!("{kind}:{name}")) {
                    continue;
                }
                self.alone(
                    OPERATOR,
                    Verb::Pause {
                        on: false,
                        kind,
                        name,
                    },
                )
                .await?;
            }
        }
        for at in 0..RUNNERS {
            for round in 0..2 {
                while let Some((client, verb)) = self.actors.wind_up(at, &mut rng) {
                    self.alone(client, verb).await?;
                }
                let runner = self.actors.id(at);
                if round == 0 && !self.world.claims_of(runner).is_empty() {
                    self.alone(2 * at + 1, Verb::Beat { runner }).await?;
                }
            }
            let left = self.world.claims_of(self.actors.id(at));
            if self.actors.id(at) != 0 && !left.is_empty() {
                return Err(format!(
                    "runner {} finished everything and still has the claims {left:?}",
                    self.actors.id(at)
                ));
            }
        }
        let holders: BTreeSet<i64> = self.world.claims.values().map(|c| c.runner).collect();
        for runner in holders {
            self.alone(CLOCK, Verb::Expire { runner }).await?;
        }
        self.alone(MAINTENANCE, Verb::Rescue { orphans: true })
            .await?;
        for _ in 0..30 {
            if self.world.tasks.values().all(|t| t.is_final()) {
                break;
            }
            if self.world.tasks.values().any(|t| t.is("scheduled")) {
                self.alone(CLOCK, Verb::Due).await?;
                self.alone(MAINTENANCE, Verb::Promote { limit: 1000 })
                    .await?;
            }
            if self.actors.id(0) == 0 || !self.world.runners.contains_key(&self.actors.id(0)) {
                self.alone(0, Verb::Register).await?;
            }
            let runner = self.actors.id(0);
            self.alone(0, Verb::Claim { runner, want: 100 }).await?;
            while let Some((client, verb)) = self.actors.wind_up(0, &mut rng) {
                self.alone(client, verb).await?;
            }
        }
        self.alone(MAINTENANCE, Verb::Rescue { orphans: true })
            .await?;
        let world = &self.world;
        match world.tasks.values().find(|t| !t.is_final()) {
            Some(task) => Err(format!("this task never ends: {task:?}")),
            None if !world.claims.is_empty() => Err(format!("left in claims: {:?}", world.claims)),
            None if !world.asked.is_empty() => {
                Err(format!("left in cancellations: {:?}", world.asked))
            }
            None => Ok(()),
        }
    }

    /// After a failure: removes all calls.
    async fn sweep(&mut self) {
        while !self.scheduler.flights.is_empty() {
            self.scheduler.flights[0].fate = Fate::LoseAnswer;
            self.scheduler.release(0).await;
            while !matches!(self.scheduler.doing(0, true).await, Doing::Ended) {
                for client in 0..crate::tests::sched::operation::CLIENTS {
                    self.scheduler.open(client).await;
                }
            }
            self.scheduler.take(0).await.1.ok();
        }
    }
}

/// Removes steps, one at a time, while the schedule still fails.
pub(super) async fn shrink(
    scheduler: &mut Scheduler,
    mut steps: Vec<Step>,
    unfenced: bool,
) -> (Vec<Step>, String) {
    let mut last = String::new();
    let mut size = steps.len().div_ceil(2);
    let mut budget = 300;
    while size > 0 && budget > 0 {
        let mut at = 0;
        let mut is_reduced = false;
        while at < steps.len() && budget > 0 {
            budget -= 1;
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(fewer.len()));
            let mut run = Run::new(scheduler, unfenced).await;
            match run.execute(&fewer).await {
                Ok(()) => at += size,
                Err(error) => {
                    last = format!("{}\n\n{error}", run.script.join("\n"));
                    steps = fewer;
                    is_reduced = true;
                }
            }
        }
        if !is_reduced || size > 1 {
            size /= 2;
        }
    }
    (steps, last)
}
