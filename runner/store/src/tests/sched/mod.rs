//! Seeded interleavings of the store's verbs over a real Postgres, checked by a pure model.
//!
//! A seed determines a schedule: steps of runners, a pusher, an operator, a maintenance client
//! and the clock. A step's transaction may be held open over the next steps, and then be
//! committed, rolled back, or committed with its answer lost. After every commit the whole queue
//! is compared with the model's expectation. At the end everything is drained, and every task
//! must have ended once.
//!
//! `PGTQ_SCHED_SEED=n` replays a failed seed; `PGTQ_SCHED_SCHEDULES=n` runs this many. A failing
//! schedule is reduced before it is shown.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

mod actors;
mod flight;
mod learn;
mod model;
mod operation;
mod rng;
mod run;
mod schedule;
mod scheduler;
mod tally;
mod verb;
mod verb_text;
mod world;

use crate::tests::sched::run::{Run, shrink};
use crate::tests::sched::schedule::schedule;
use crate::tests::sched::scheduler::Scheduler;
use crate::tests::sched::tally::Tally;

/// Takes about twenty seconds on two cores; CI runs 2,000.
const SCHEDULES: u64 = 400;
/// More than cores, because Postgres uses half of the time.
const WORKERS: usize = 3;

/// A way to break the store.
#[derive(Debug, Clone, Copy)]
enum Mutant {
    /// `finish` does not check that the claim still exists.
    Unfenced,
    /// Replaces a part of a function of the schema.
    Sql {
        function: &'static str,
        from: &'static str,
        to: &'static str,
    },
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs seeds until one fails or all have run.
fn run_seeds(
    seeds: std::ops::Range<u64>,
    workers: usize,
    mutant: Option<Mutant>,
) -> (Tally, Option<String>) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let failure = Mutex::new(None);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.expect("a runtime").block_on(async {
                    let mut scheduler = Scheduler::new().await;
                    if let Some(Mutant::Sql { function, from, to }) = mutant {
                        scheduler.mutate(function, from, to).await;
                    }
                    let unfenced = matches!(mutant, Some(Mutant::Unfenced));
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || failure.lock().expect("lock").is_some() {
                            return;
                        }
                        let steps = schedule(seed);
                        let mut run = Run::new(&mut scheduler, unfenced).await;
                        let verdict = run.execute(&steps).await;
                        tally.lock().expect("lock").add(&run.tally);
                        let Err(error) = verdict else { continue };
                        eprintln!("seed {seed} fails after {:?}", began.elapsed());
                        let script = run.script.join("\n");
                        let shown = if mutant.is_some() {
                            error
                        } else {
                            let (fewer, last) = shrink(&mut scheduler, steps, unfenced).await;
                            let reduced = if last.is_empty() {
                                format!("{script}\n\n{error}")
                            } else {
                                last
                            };
                            format!("{error}\n\nreduced to {} steps:\n{reduced}", fewer.len())
                        };
                        let text = format!(
                            "seed {seed} fails (PGTQ_SCHED_SEED={seed} replays it): {shown}"
                        );
                        failure.lock().expect("lock").get_or_insert(text);
                        return;
                    }
                });
            });
        }
    });
    (
        tally.into_inner().expect("lock"),
        failure.into_inner().expect("lock"),
    )
}

#[test]
fn no_interleaving_of_the_verbs_loses_or_doubles_a_task() {
    let seeds = match number("PGTQ_SCHED_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PGTQ_SCHED_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let began = Instant::now();
    let (tally, failure) = run_seeds(seeds, WORKERS, None);
    let pairs = tally.pairs.len();
    eprintln!(
        "{:?} for {:?}, {pairs} concurrent pairs of verbs",
        began.elapsed(),
        Tally {
            pairs: Default::default(),
            ..tally
        }
    );
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// Asserts that the checker finds this mutant.
#[track_caller]
fn assert_caught(mutant: Mutant) {
    let (tally, failure) = run_seeds(0..600, 2, Some(mutant));
    let failure = failure
        .unwrap_or_else(|| panic!("{mutant:?} was not caught in {} schedules", tally.schedules));
    // By the state of the queue, not because the mutant cannot run.
    assert!(!failure.contains(run::ERROR), "{failure}");
    eprintln!(
        "caught after {} schedules: {}",
        tally.schedules,
        failure.lines().take(4).collect::<Vec<_>>().join(" ")
    );
}

#[test]
fn a_finish_without_the_claim_check_is_caught() {
    assert_caught(Mutant::Unfenced);
}

#[test]
fn a_rescue_reading_before_locking_is_caught() {
    assert_caught(Mutant::Sql {
        function: "rescue(boolean, integer, integer, bigint[])",
        from: "ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED)\n        SELECT taken",
        to: "ORDER BY c.id LIMIT most)\n        SELECT taken",
    });
}

#[test]
fn a_promote_copying_unlocked_tasks_is_caught() {
    assert_caught(Mutant::Sql {
        function: "promote(integer, timestamptz, bigint)",
        from: "FROM (SELECT * FROM gone ORDER BY run_at, id) AS g",
        to: "FROM (SELECT s.* FROM {{schema}}.scheduled_tasks AS s WHERE s.run_at <= now() ORDER BY run_at LIMIT batch) AS g",
    });
}

#[test]
fn a_push_ignoring_the_owner_of_the_key_is_caught() {
    assert_caught(Mutant::Sql {
        function: "push_rows(text[], text[], text[], integer[], interval[], timestamptz[], integer[], text[], bigint[], text[])",
        from: "WHERE n.id = n.owner",
        to: "WHERE true",
    });
}

#[test]
fn a_delete_ignoring_the_live_claim_is_caught() {
    assert_caught(Mutant::Sql {
        function: "delete_tasks(bigint[])",
        from: "ON c.id = h.claim_id",
        to: "ON c.id = h.claim_id AND false",
    });
}

#[test]
fn a_rescue_not_reporting_the_only_suspect_is_caught() {
    assert_caught(Mutant::Sql {
        function: "take_back(bigint[], bigint[], integer)",
        from: "j.runner_id, j.solo,",
        to: "j.runner_id, false,",
    });
}
