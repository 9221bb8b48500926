//! The fault injector. Its plan is generated from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgtq_tests::{Fault as ConnectionFault, Rule, wait_until};

use crate::cluster::{Cluster, ROLE};
use crate::facts::{Facts, Kill};
use crate::rng::Rng;

/// Longer than the lease, so that other runners take over.
const LONG: Duration = Duration::from_secs(17);
/// Shorter than the lease.
const SHORT: Duration = Duration::from_secs(3);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Kills a runner with SIGKILL and starts a new one.
    Kill,
    /// Stops a runner for longer than its lease.
    Freeze,
    /// Makes a runner's proxy a black hole for longer than its lease.
    BlackHole,
    /// Makes a runner's proxy a black hole for less than its lease.
    Hiccup,
    /// Crashes and restarts Postgres.
    ServerCrash,
    /// Calls `pg_terminate_backend` for all clients.
    Terminate,
    /// Cuts all connections of a runner.
    CutAll,
    /// Cuts a connection at a statement, in one of three ways.
    CutStatement,
    /// Replaces a plugin by another version.
    Swap,
    /// Removes a plugin, and restores it.
    Remove,
    /// Drains a runner with SIGTERM and starts a new one.
    Drain,
}

/// All faults.
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

/// Statements to cut at. All except the last two are of the runner.
const POINTS: [&str; 6] = [
    "one ordered scan for each",
    "for final outcomes",
    "Caller: Store::beat",
    "COMMIT",
    "handler's COMMIT",
    "SELECT pgtq.push(",
];

const CUTS: [ConnectionFault; 3] = [
    ConnectionFault::CutBefore,
    ConnectionFault::CutAfter,
    ConnectionFault::CutDuring,
];

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    pub(crate) node: usize,
    pub(crate) point: usize,
    pub(crate) cut: ConnectionFault,
}

/// Generates a plan: all faults in random order, cuts of statements more often.
pub(crate) fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let mut steps = Vec::new();
    let mut at = Duration::from_millis(1_500);
    // Long faults first, so that a short run includes their recovery.
    let mut deck = vec![Fault::Freeze, Fault::BlackHole, Fault::Kill];
    while at < length {
        if deck.is_empty() {
            deck = ALL.to_vec();
            deck.extend([Fault::CutStatement; 4]);
            rng.shuffle(&mut deck);
        }
        let mut fault = deck.remove(0);
        // No long faults near the end of the run.
        let is_late = at + LONG > length + SHORT;
        if is_late && matches!(fault, Fault::Freeze | Fault::BlackHole) {
            fault = Fault::Hiccup;
        }
        steps.push(Step {
            at,
            fault,
            node: rng.below(3),
            point: rng.below(POINTS.len()),
            cut: rng.pick(&CUTS),
        });
        at += Duration::from_millis(500 + rng.below(1_000) as u64);
    }
    steps
}

/// The end of a temporary fault.
enum Recovery {
    Resume(usize),
    Reconnect(usize),
    Restore,
}

/// Executes a plan.
pub(crate) struct Injector {
    started: Instant,
    recoveries: Vec<(Instant, Recovery)>,
    n_swaps: usize,
    pub(crate) done: BTreeMap<Fault, usize>,
}

impl Injector {
    pub(crate) fn new() -> Self {
        Injector {
            started: Instant::now(),
            recoveries: Vec::new(),
            n_swaps: 0,
            done: BTreeMap::new(),
        }
    }

    /// Executes the plan, then ends all faults.
    pub(crate) fn run(&mut self, cluster: &mut Cluster, facts: &mut Facts, plan: &[Step]) {
        for step in plan {
            cluster.supervise();
            let due = self.started + step.at;
            self.recover_until(cluster, due);
            if self.inject(cluster, facts, step) {
                *self.done.entry(step.fault).or_default() += 1;
            }
        }
        let last = self.recoveries.iter().map(|(at, _)| *at).max();
        self.recover_until(cluster, last.unwrap_or_else(Instant::now));
        for node in &cluster.nodes {
            node.proxy.clear_rules();
        }
        cluster.proxy.clear_rules();
        cluster.swap(0);
        cluster.supervise();
    }

    /// Waits until the given time, and ends temporary faults that are due.
    fn recover_until(&mut self, cluster: &mut Cluster, until: Instant) {
        wait_until("the next fault is due", || {
            let now = Instant::now();
            let (due, later): (Vec<_>, Vec<_>) =
                self.recoveries.drain(..).partition(|(at, _)| *at <= now);
            self.recoveries = later;
            for (_, recovery) in due {
                match recovery {
                    Recovery::Resume(node) => {
                        cluster.nodes[node].runner.resume();
                        cluster.nodes[node].is_disabled = false;
                    }
                    Recovery::Reconnect(node) => {
                        cluster.nodes[node].proxy.set_black_hole(false);
                        cluster.nodes[node].is_disabled = false;
                    }
                    Recovery::Restore => cluster.swap(self.n_swaps),
                }
            }
            now >= until
        });
    }

    /// Injects a fault. Returns whether there was a target.
    fn inject(&mut self, cluster: &mut Cluster, facts: &mut Facts, step: &Step) -> bool {
        let now = Instant::now();
        // Skips nodes that already have a fault.
        let nodes = (0..3).map(|n| (step.node + n) % 3);
        let Some(node) = nodes.clone().find(|node| !cluster.nodes[*node].is_disabled) else {
            return false;
        };
        match step.fault {
            Fault::Kill => kill(cluster, facts, node),
            Fault::Freeze | Fault::BlackHole | Fault::Hiccup => {
                facts.excused.extend(cluster.ids(node));
                let target = &mut cluster.nodes[node];
                target.is_disabled = true;
                let (length, recovery) = match step.fault {
                    Fault::Freeze => (LONG, Recovery::Resume(node)),
                    Fault::BlackHole => (LONG, Recovery::Reconnect(node)),
                    _ => (SHORT, Recovery::Reconnect(node)),
                };
                match recovery {
                    Recovery::Resume(_) => target.runner.pause(),
                    _ => target.proxy.set_black_hole(true),
                }
                self.recoveries.push((now + length, recovery));
            }
            Fault::ServerCrash => cluster.restart_server(),
            Fault::Terminate => {
                cluster.sql.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
                );
            }
            Fault::CutAll => {
                cluster.nodes[node].proxy.cut();
            }
            Fault::CutStatement => {
                let point = POINTS[step.point];
                let (proxy, rule) = match point {
                    "handler's COMMIT" => {
                        (&cluster.nodes[node].proxy, Rule::exactly("COMMIT").of(ROLE))
                    }
                    "COMMIT" => (&cluster.nodes[node].proxy, Rule::exactly(point).of("pgtq")),
                    "SELECT pgtq.push(" => (&cluster.proxy, Rule::on(point)),
                    _ => (&cluster.nodes[node].proxy, Rule::on(point)),
                };
                proxy.rule(rule.faults(&[step.cut; 2]));
            }
            Fault::Swap => {
                self.n_swaps += 1;
                cluster.swap(self.n_swaps);
            }
            Fault::Remove => {
                cluster.remove();
                self.recoveries.push((now + SHORT, Recovery::Restore));
            }
            Fault::Drain => {
                cluster.note_stale(node);
                cluster.nodes[node].runner.terminate();
                cluster.nodes[node].runner.wait();
                cluster.refill(node);
            }
        }
        true
    }
}

/// Kills a runner, and records the tasks that it held.
fn kill(cluster: &mut Cluster, facts: &mut Facts, node: usize) {
    cluster.note_stale(node);
    cluster.nodes[node].runner.kill();
    let at = cluster
        .sql
        .row("SELECT extract(epoch FROM clock_timestamp())");
    let ids = cluster.ids(node);
    for id in &ids {
        let held = cluster.sql.rows(&format!(
            "SELECT id, claim_id FROM pgtq.running WHERE runner_id = {id}"
        ));
        let held = held.iter().filter_map(|row| {
            let (task, claim) = row.split_once('|')?;
            Some((task.parse().ok()?, claim.parse().ok()?))
        });
        facts.kills.push(Kill {
            at: at.parse().expect("seconds"),
            held: held.collect(),
        });
    }
    facts.excused.extend(ids);
    cluster.refill(node);
}

#[test]
fn a_plan_is_deterministic_and_has_every_fault() {
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
