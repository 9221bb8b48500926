//! Tasks that a runner has claimed and not started: they are released to other runners, and
//! commands of operators apply to them.

use std::time::{Duration, Instant};

use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Sql, cli, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, busy, registry};
use crate::tasks::{database, push};

/// Takes the number of milliseconds in its arguments.
fn nap(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        busy(Duration::from_millis(
            attempt
                .task
                .args
                .trim_matches(['[', ']'])
                .parse()
                .unwrap_or(0),
        ))
        .await;
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

fn engine(runtime: &Runtime, url: &str) -> Engine {
    let handlers = registry("unused", &[("nap", nap), ("echo", nap)]);
    runtime.block_on(Engine::start(url, handlers))
}

/// The slots of an engine.
const SLOTS: i64 = 8;

/// A runner that has finished 10,000 fast tasks and now has claimed some slow ones.
fn runner_with_claimed_tasks(sql: &Sql, runtime: &Runtime, url: &str) -> Engine {
    push(sql, "nap", 10_000, "[0]");
    push(sql, "nap", 500, "[6000]");
    let engine = engine(runtime, url);
    wait_until("the quick tasks are done", || {
        sql.number("SELECT count(*) FROM pgtq.complete") >= 10_000
    });
    engine
}

fn n_running(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.running")
}

#[test]
fn unstarted_tasks_are_released_to_other_runners() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let first = runner_with_claimed_tasks(&sql, &runtime, database.url());
    let since = Instant::now();
    wait_until("the runner holds only its running tasks", || {
        n_running(&sql) == SLOTS
    });
    assert!(
        since.elapsed() < Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    let second = engine(&runtime, database.url());
    let since = Instant::now();
    wait_until("the second runner has its share", || {
        n_running(&sql) == 2 * SLOTS
    });
    assert!(
        since.elapsed() < Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    // The first free slot runs it, before hundreds of others.
    sql.rows("SELECT pgtq.push('echo', '[0]', priority => -1000)");
    let since = Instant::now();
    let done = "SELECT count(*) FROM pgtq.complete WHERE handler = 'echo'";
    wait_until("the urgent task is done", || sql.number(done) == 1);
    assert!(
        since.elapsed() < Duration::from_secs(8),
        "{:?}",
        since.elapsed()
    );
    sql.rows("SELECT pgtq.cancel_tasks(array_agg(id)) FROM pgtq.runnable");
    runtime.block_on(async {
        first.abort().await;
        second.abort().await;
    });
    let counted = "SELECT count(*) FROM pgtq.tasks WHERE attempts > 0 AND state <> 'complete'";
    assert_eq!(sql.number(counted), 0, "an attempt was counted");
}

#[test]
fn a_pause_and_a_cancel_apply_to_claimed_unstarted_tasks() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let engine = runner_with_claimed_tasks(&sql, &runtime, database.url());
    sql.rows("SELECT pgtq.pause(handler => 'nap')");
    let started = "SELECT count(*) FROM pgtq.running";
    wait_until("only started tasks are left", || {
        sql.number(started) <= SLOTS
    });
    wait_until("nothing starts", || sql.number(started) == 0);
    let complete = sql.number("SELECT count(*) FROM pgtq.complete");
    assert!(complete <= 10_000 + 2 * SLOTS, "{complete} were run");
    // As reported by the last heartbeat.
    let held = "SELECT sum(held) FROM pgtq.runners";
    wait_until("nothing is held", || sql.number(held) == 0);
    let runners = cli(database.url(), &["runners", "--output", "json"], "").success();
    assert!(runners.contains("\"held\": 0"), "{runners}");
    sql.rows("SELECT pgtq.cancel_tasks(array_agg(id)) FROM pgtq.runnable");
    runtime.block_on(engine.abort());
}

#[test]
fn a_cancel_applies_to_held_tasks_while_all_slots_are_busy() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    push(&sql, "nap", 10_000, "[0]");
    push(&sql, "nap", 500, "[600000]");
    let engine = engine(&runtime, database.url());
    // Slots run tasks in order of their ids, so tasks after the first `SLOTS` are not
    // started.
    let cancel = format!(
        "SELECT count(*) FROM pgtq.cancel_tasks(ARRAY(
             SELECT id FROM pgtq.running WHERE args::text = '[600000]' ORDER BY id OFFSET {SLOTS})) WHERE was = 'running'"
    );
    let mut asked = 0;
    wait_until("tasks are held and cancelled", || {
        asked = sql.number(&cancel);
        asked > 0
    });
    // No slot becomes free for them.
    let cancelled = "SELECT count(*) FROM pgtq.cancelled";
    wait_until("the cancelled tasks are finished", || {
        sql.number(cancelled) >= asked
    });
    let started = "SELECT count(*) FROM pgtq.tasks WHERE args::text = '[600000]' AND (state = 'complete' OR attempts > 0)";
    assert_eq!(sql.number(started), 0);
    sql.rows("SELECT pgtq.cancel_tasks(array_agg(id)) FROM pgtq.tasks WHERE finished_at IS NULL");
    runtime.block_on(engine.abort());
}
