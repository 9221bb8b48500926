//! Fault injection: real runners, a durable Postgres, pushers, an observer, and an
//! injector that kills, stops, disconnects and restarts them by a plan. Every
//! acknowledged task must have exactly one outcome, the one of its handler, with its
//! effects.
//!
//! The default run takes about a minute. `PGTQ_CHAOS_MINUTES=30` runs longer,
//! `PGTQ_CHAOS_SEED=7` uses another plan. The report is printed and written to
//! `target/tmp/chaos.txt`. The tests in `mutants` add bugs that the checker must find.

mod checker;
mod cluster;
mod facts;
mod injector;
mod mutants;
mod pusher;
mod report;
mod rng;
mod watch;
mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pgtq_tests::PATIENCE;

use crate::cluster::Cluster;
use crate::facts::Facts;
use crate::injector::Injector;
use crate::report::{Run, report};
use crate::watch::Watch;

/// The duration of fault injection in the default run.
const SHORT: Duration = Duration::from_secs(25);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// The number of unfinished tasks.
fn n_unfinished(cluster: &Cluster) -> i64 {
    cluster.sql.number(
        "SELECT (SELECT count(*) FROM pgtq.runnable_tasks) + (SELECT count(*) FROM pgtq.scheduled_tasks)
              + (SELECT coalesce(sum(cardinality(task_ids)), 0) FROM pgtq.claims) + (SELECT count(*) FROM pgtq.popped)",
    )
}

/// Waits until every task is finished, without a limit while there is progress. Panics
/// with the stuck tasks otherwise.
fn drain(cluster: &Cluster) {
    let progress = || {
        cluster
            .sql
            .row("SELECT (SELECT count(*) FROM pgtq.history), (SELECT count(*) FROM pgtq.attempts)")
    };
    let mut before = progress();
    let mut since = Instant::now();
    while n_unfinished(cluster) > 0 {
        let now = progress();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        let stuck = since.elapsed() > PATIENCE;
        assert!(!stuck, "stuck: {:#?}", cluster.sql.rows(UNFINISHED));
        cluster::pause(100);
    }
}

/// Unfinished tasks, with their attempts.
const UNFINISHED: &str = "
    SELECT t.*, (SELECT string_agg(concat_ws(' ', a.claim_id, a.kind, a.ended_at, left(a.error_message, 200)), E'\n' ORDER BY a.ended_at)
                 FROM pgtq.attempts AS a WHERE a.task_id = t.id)
    FROM pgtq.tasks AS t WHERE state IN ('scheduled', 'runnable', 'running') LIMIT 20";

#[test]
fn every_acknowledged_task_has_one_correct_outcome() {
    let seed = setting("PGTQ_CHAOS_SEED").unwrap_or(1);
    let minutes = setting("PGTQ_CHAOS_MINUTES");
    let length = minutes.map_or(SHORT, |n| Duration::from_secs(60 * n));
    let started = Instant::now();
    let mut cluster = Cluster::new();
    for node in &mut cluster.nodes {
        node.runner.wait_for("running");
    }
    let (stop, stop_watching) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let watch = Watch::start(&cluster.url, &stop_watching);
    let pushers = [
        pusher::in_transactions(&cluster.url, seed, &stop),
        pusher::with_keys(&cluster.proxy.url("pgtq"), seed, &stop),
    ];
    let mut facts = Facts::default();
    let mut injector = Injector::new();
    injector.run(&mut cluster, &mut facts, &injector::plan(seed, length));
    stop.store(true, Relaxed);
    let mut n_repeated = 0;
    for pusher in pushers {
        let log = pusher.join().expect("no panic");
        facts.pushed.extend(log.pushed);
        facts.undone.extend(log.undone);
        facts.n_unknown += log.n_unknown;
        n_repeated += log.n_repeated;
    }
    drain(&cluster);
    for place in 0..cluster.nodes.len() {
        cluster.note_stale(place);
        cluster.nodes[place].runner.terminate();
    }
    for node in &mut cluster.nodes {
        assert_eq!(
            node.runner.wait().code(),
            Some(0),
            "{}",
            node.runner.stderr()
        );
    }
    stop_watching.store(true, Relaxed);
    let watch = watch.join().expect("no panic");
    facts.seen = watch.problems;
    facts.read(&cluster.sql);

    let violations = checker::check(&facts);
    let proxies = cluster.nodes.iter().map(|node| &node.proxy);
    let run = Run {
        seed,
        seconds: started.elapsed().as_secs_f64(),
        faults: &injector.done,
        n_cut: proxies
            .chain([&cluster.proxy])
            .map(|proxy| proxy.hits().len())
            .sum(),
        n_repeated,
        n_samples: watch.n_samples,
        n_stale: cluster.n_stale,
    };
    let text = report(&run, &facts, &violations);
    println!("{text}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos.txt");
    std::fs::write(file, &text).expect("a report is written");
    assert!(violations.is_empty(), "{text}");
    assert!(facts.pushed.len() > 500, "{text}");
}
