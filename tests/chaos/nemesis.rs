//! Who does the damage, by a plan that comes from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgtq_tests::{Fate, Rule, wait_until};

use crate::dice::Dice;
use crate::facts::{Death, Facts};
use crate::world::{ROLE, World};

/// Longer than the lease, so that others take over.
const LONG: Duration = Duration::from_secs(17);
/// Too short for that.
const SHORT: Duration = Duration::from_secs(3);

/// A way to do damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `kill -9`, and a new runner.
    Kill,
    /// SIGSTOP beyond the lease, then SIGCONT.
    Freeze,
    /// Nothing passes beyond the lease; connections stay open.
    BlackHole,
    /// Nothing passes for a moment.
    Hiccup,
    /// Postgres dies and comes back.
    ServerCrash,
    /// `pg_terminate_backend` for everybody.
    Terminate,
    /// All connections of a runner are cut.
    CutAll,
    /// A connection is cut at one statement, in one of three ways.
    CutStatement,
    /// Another version of a plugin.
    Swap,
    /// A plugin is gone, and comes back.
    Remove,
    /// SIGTERM, and a new runner.
    Drain,
}

/// Every fault.
const ALL: [Fault; 11] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::BlackHole,
    Fault::Hiccup,
    Fault::ServerCrash,
    Fault::Terminate,
    Fault::CutAll,
    Fault::CutStatement,
    Fault::Swap,
    Fault::Remove,
    Fault::Drain,
];

/// Statements to cut at: of the runner, but the last two.
const POINTS: [&str; 6] = [
    "one ordered scan for each",
    "for final outcomes",
    "Caller: Store::beat",
    "COMMIT",
    "handler's COMMIT",
    "SELECT pgtq.push(",
];

const WAYS: [Fate; 3] = [Fate::LostBefore, Fate::LostBehind, Fate::LostMeanwhile];

/// When, what, to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    pub(crate) seat: usize,
    pub(crate) point: usize,
    pub(crate) way: Fate,
}

/// Every fault, in turns; statements are cut more often than that.
pub(crate) fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut steps = Vec::new();
    let mut at = Duration::from_millis(1_500);
    // Those that last come first, so that a short run has their ends, too.
    let mut deck = vec![Fault::Freeze, Fault::BlackHole, Fault::Kill];
    while at < length {
        if deck.is_empty() {
            deck = ALL.to_vec();
            deck.extend([Fault::CutStatement; 4]);
            dice.shuffle(&mut deck);
        }
        let mut fault = deck.remove(0);
        // The run does not wait for the end of what it begins late.
        let is_late = at + LONG > length + SHORT;
        if is_late && matches!(fault, Fault::Freeze | Fault::BlackHole) {
            fault = Fault::Hiccup;
        }
        steps.push(Step {
            at,
            fault,
            seat: dice.below(3),
            point: dice.below(POINTS.len()),
            way: dice.pick(&WAYS),
        });
        at += Duration::from_millis(500 + dice.below(1_000) as u64);
    }
    steps
}

/// What ends by itself.
enum Cure {
    Thaw(usize),
    Open(usize),
    Return,
}

/// Carries a plan out.
pub(crate) struct Nemesis {
    started: Instant,
    cures: Vec<(Instant, Cure)>,
    n_swaps: usize,
    pub(crate) done: BTreeMap<Fault, usize>,
}

impl Nemesis {
    pub(crate) fn new() -> Self {
        Nemesis {
            started: Instant::now(),
            cures: Vec::new(),
            n_swaps: 0,
            done: BTreeMap::new(),
        }
    }

    /// Does it all, and then heals everything.
    pub(crate) fn work(&mut self, world: &mut World, facts: &mut Facts, plan: &[Step]) {
        for step in plan {
            world.supervise();
            let due = self.started + step.at;
            self.cure_until(world, due);
            if self.harm(world, facts, step) {
                *self.done.entry(step.fault).or_default() += 1;
            }
        }
        let last = self.cures.iter().map(|(at, _)| *at).max();
        self.cure_until(world, last.unwrap_or_else(Instant::now));
        for seat in &world.seats {
            seat.proxy.no_rules();
        }
        world.proxy.no_rules();
        world.swap(0);
        world.supervise();
    }

    /// Waits until then, and ends meanwhile what has to end.
    fn cure_until(&mut self, world: &mut World, until: Instant) {
        wait_until("the next fault is due", || {
            let now = Instant::now();
            let (due, later): (Vec<_>, Vec<_>) =
                self.cures.drain(..).partition(|(at, _)| *at <= now);
            self.cures = later;
            for (_, cure) in due {
                match cure {
                    Cure::Thaw(seat) => {
                        world.seats[seat].runner.resume();
                        world.seats[seat].is_away = false;
                    }
                    Cure::Open(seat) => {
                        world.seats[seat].proxy.set_hole(false);
                        world.seats[seat].is_away = false;
                    }
                    Cure::Return => world.swap(self.n_swaps),
                }
            }
            now >= until
        });
    }

    /// Whether there was something to harm.
    fn harm(&mut self, world: &mut World, facts: &mut Facts, step: &Step) -> bool {
        let now = Instant::now();
        // One that is away cannot be harmed further; the next one can.
        let seats = (0..3).map(|n| (step.seat + n) % 3);
        let Some(seat) = seats.clone().find(|seat| !world.seats[*seat].is_away) else {
            return false;
        };
        match step.fault {
            Fault::Kill => kill(world, facts, seat),
            Fault::Freeze | Fault::BlackHole | Fault::Hiccup => {
                facts.excused.extend(world.ids(seat));
                let harmed = &mut world.seats[seat];
                harmed.is_away = true;
                let (length, cure) = match step.fault {
                    Fault::Freeze => (LONG, Cure::Thaw(seat)),
                    Fault::BlackHole => (LONG, Cure::Open(seat)),
                    _ => (SHORT, Cure::Open(seat)),
                };
                match cure {
                    Cure::Thaw(_) => harmed.runner.pause(),
                    _ => harmed.proxy.set_hole(true),
                }
                self.cures.push((now + length, cure));
            }
            Fault::ServerCrash => world.restart_server(),
            Fault::Terminate => {
                world.sql.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
                );
            }
            Fault::CutAll => {
                world.seats[seat].proxy.cut();
            }
            Fault::CutStatement => {
                let point = POINTS[step.point];
                let (proxy, rule) = match point {
                    "handler's COMMIT" => {
                        (&world.seats[seat].proxy, Rule::exactly("COMMIT").of(ROLE))
                    }
                    "COMMIT" => (&world.seats[seat].proxy, Rule::exactly(point).of("pgtq")),
                    "SELECT pgtq.push(" => (&world.proxy, Rule::on(point)),
                    _ => (&world.seats[seat].proxy, Rule::on(point)),
                };
                proxy.rule(rule.fates(&[step.way; 2]));
            }
            Fault::Swap => {
                self.n_swaps += 1;
                world.swap(self.n_swaps);
            }
            Fault::Remove => {
                world.remove();
                self.cures.push((now + SHORT, Cure::Return));
            }
            Fault::Drain => {
                world.note_stale(seat);
                world.seats[seat].runner.terminate();
                world.seats[seat].runner.wait();
                world.refill(seat);
            }
        }
        true
    }
}

/// Kills a runner, and notes what it held.
fn kill(world: &mut World, facts: &mut Facts, seat: usize) {
    world.note_stale(seat);
    world.seats[seat].runner.kill();
    let at = world
        .sql
        .row("SELECT extract(epoch FROM clock_timestamp())");
    let ids = world.ids(seat);
    for id in &ids {
        let held = world.sql.rows(&format!(
            "SELECT id, claim_id FROM pgtq.running WHERE runner_id = {id}"
        ));
        let held = held.iter().filter_map(|row| {
            let (task, claim) = row.split_once('|')?;
            Some((task.parse().ok()?, claim.parse().ok()?))
        });
        facts.deaths.push(Death {
            at: at.parse().expect("seconds"),
            held: held.collect(),
        });
    }
    facts.excused.extend(ids);
    world.refill(seat);
}

#[test]
fn a_plan_has_every_fault_and_comes_again() {
    let length = Duration::from_secs(60);
    assert_eq!(plan(7, length), plan(7, length));
    assert_ne!(plan(7, length), plan(8, length));
    for fault in ALL {
        assert!(
            plan(7, length).iter().any(|step| step.fault == fault),
            "{fault:?}"
        );
    }
}
