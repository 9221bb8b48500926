//! Chaos: real runners, a durable Postgres, pushers, an observer, and somebody who
//! kills, freezes, cuts off and restarts them by a plan. Whatever was acknowledged
//! must have ended once, as its handler decided, with its effects, and nothing else.
//!
//! The ordinary run takes about a minute. `PGTQ_CHAOS_MINUTES=30` makes it longer,
//! `PGTQ_CHAOS_SEED=7` takes another plan; the report goes to `target/tmp/chaos.txt`
//! and to the output. Bugs put in on purpose, which the checker must find, are in
//! `mutants`.

mod checker;
mod dice;
mod facts;
mod mutants;
mod nemesis;
mod pusher;
mod report;
mod watch;
mod workload;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pgtq_tests::PATIENCE;

use crate::facts::Facts;
use crate::nemesis::Nemesis;
use crate::report::{Run, report};
use crate::watch::Watch;
use crate::world::World;

/// The faults of the ordinary run.
const SHORT: Duration = Duration::from_secs(25);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Tasks that have not ended.
fn n_unended(world: &World) -> i64 {
    world.sql.number(
        "SELECT (SELECT count(*) FROM pgtq.runnable_tasks) + (SELECT count(*) FROM pgtq.scheduled_tasks)
              + (SELECT coalesce(sum(cardinality(task_ids)), 0) FROM pgtq.claims) + (SELECT count(*) FROM pgtq.popped)",
    )
}

/// Waits until every task has ended, however long it takes while something happens.
/// What is stuck then is told.
fn drain(world: &World) {
    let progress = || {
        world
            .sql
            .row("SELECT (SELECT count(*) FROM pgtq.history), (SELECT count(*) FROM pgtq.attempts)")
    };
    let mut before = progress();
    let mut since = Instant::now();
    while n_unended(world) > 0 {
        let now = progress();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        let stuck = since.elapsed() > PATIENCE;
        assert!(!stuck, "stuck: {:#?}", world.sql.rows(UNENDED));
        world::pause(100);
    }
}

/// What has not ended, and what became of it so far.
const UNENDED: &str = "
    SELECT t.*, (SELECT string_agg(concat_ws(' ', a.claim_id, a.kind, a.ended_at, left(a.error_message, 200)), E'\n' ORDER BY a.ended_at)
                 FROM pgtq.attempts AS a WHERE a.task_id = t.id)
    FROM pgtq.tasks AS t WHERE state IN ('scheduled', 'runnable', 'running') LIMIT 20";

#[test]
fn whatever_happens_each_acknowledged_task_ends_once_and_as_it_must() {
    let seed = setting("PGTQ_CHAOS_SEED").unwrap_or(1);
    let minutes = setting("PGTQ_CHAOS_MINUTES");
    let length = minutes.map_or(SHORT, |n| Duration::from_secs(60 * n));
    let started = Instant::now();
    let mut world = World::new();
    for seat in &mut world.seats {
        seat.runner.wait_for("running");
    }
    let (stop, stop_looking) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let watch = Watch::start(&world.url, &stop_looking);
    let pushers = [
        pusher::in_transactions(&world.url, seed, &stop),
        pusher::with_keys(&world.proxy.url("pgtq"), seed, &stop),
    ];
    let mut facts = Facts::default();
    let mut nemesis = Nemesis::new();
    nemesis.work(&mut world, &mut facts, &nemesis::plan(seed, length));
    stop.store(true, Relaxed);
    let mut n_repeated = 0;
    for pusher in pushers {
        let ledger = pusher.join().expect("a pusher ends");
        facts.pushed.extend(ledger.pushed);
        facts.undone.extend(ledger.undone);
        facts.n_unknown += ledger.n_unknown;
        n_repeated += ledger.n_repeated;
    }
    drain(&world);
    for place in 0..world.seats.len() {
        world.note_stale(place);
        world.seats[place].runner.terminate();
    }
    for seat in &mut world.seats {
        assert_eq!(
            seat.runner.wait().code(),
            Some(0),
            "{}",
            seat.runner.stderr()
        );
    }
    stop_looking.store(true, Relaxed);
    let watch = watch.join().expect("the observer ends");
    facts.seen = watch.problems;
    facts.read(&world.sql);

    let violations = checker::check(&facts);
    let proxies = world.seats.iter().map(|seat| &seat.proxy);
    let run = Run {
        seed,
        seconds: started.elapsed().as_secs_f64(),
        faults: &nemesis.done,
        n_cut: proxies
            .chain([&world.proxy])
            .map(|proxy| proxy.hits().len())
            .sum(),
        n_repeated,
        n_looks: watch.n_looks,
        n_stale: world.n_stale,
    };
    let text = report(&run, &facts, &violations);
    println!("{text}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos.txt");
    std::fs::write(file, &text).expect("a report is written");
    assert!(violations.is_empty(), "{text}");
    assert!(facts.pushed.len() > 500, "{text}");
}
