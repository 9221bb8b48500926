//! Shutdown: running tasks may finish, unstarted tasks are released unchanged, and no task
//! has to wait for a lease.

use pgtq_tests::{Sql, cli, plugin_dir, wait_until};

use crate::tasks::{
    UNFINISHED, assert_completed_once, database, n_finished, push, runner, wait_for_finished,
};

const LONG_SLEEPS: &str = "[handlers.'flaky.sleep']\ntimeout = '10m'";

fn n_running(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.running")
}

/// Panics if a task is claimed or a runner is registered.
#[track_caller]
fn assert_deregistered(sql: &Sql) {
    let left =
        sql.row("SELECT (SELECT count(*) FROM pgtq.claims), (SELECT count(*) FROM pgtq.runners)");
    assert_eq!(left, "0|0", "claims and runners");
}

/// Panics unless there are `n` runnable tasks, all without attempts.
#[track_caller]
fn assert_unattempted(sql: &Sql, n: i64) {
    let found = sql.row("SELECT count(*), coalesce(max(attempts + crashes), 0) FROM pgtq.runnable");
    assert_eq!(
        found,
        format!("{n}|0"),
        "runnable tasks, their attempts and crashes"
    );
    assert_eq!(sql.number(UNFINISHED), n);
}

/// The number of released unstarted tasks in the runner's log.
fn n_released(stderr: &str) -> Option<i64> {
    let line = stderr
        .lines()
        .find(|line| line.contains("releasing tasks that had not started"))?;
    let number = line.split("n_tasks=").nth(1)?;
    number.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_drain_finishes_running_tasks_and_releases_unstarted_ones() {
    const N: usize = 2_000;
    const SLOTS: i64 = 4;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = |arguments: &[&str]| runner(database.url(), dir.path(), LONG_SLEEPS, arguments);
    let mut first = start(&["-c", "4"]);
    push(&sql, "flaky.sleep", N, "[30]");
    // The runner claims more tasks than it has slots once it has measured their duration.
    wait_until("more tasks are claimed than there are slots", || {
        n_running(&sql) > SLOTS && n_finished(&sql) > 20
    });
    first.terminate();
    assert_eq!(first.wait().code(), Some(0), "{}", first.stderr());
    assert_deregistered(&sql);
    let ended = n_finished(&sql);
    let n = i64::try_from(N).expect("small");
    assert!(ended < n, "all tasks were finished before the signal");
    assert_unattempted(&sql, n - ended);
    // Only unstarted tasks were released: a released task has a new position.
    let came_back = sql.number("SELECT count(*) FROM pgtq.runnable_tasks WHERE position <> id");
    assert_eq!(n_released(&first.stderr()), Some(came_back));
    let not_complete = "SELECT count(*) FROM pgtq.history WHERE state <> 'complete'";
    assert_eq!(sql.number(not_complete), 0);

    // Shortens the tasks. They must be able to start.
    sql.rows("UPDATE pgtq.runnable_tasks SET args = '[0]'");
    let mut second = start(&["--drain"]);
    assert_eq!(second.wait().code(), Some(0), "{}", second.stderr());
    assert_completed_once(&sql, N);
    assert_eq!(
        sql.row("SELECT max(attempts), max(crashes) FROM pgtq.history"),
        "1|0"
    );
}

#[test]
fn a_second_signal_releases_running_tasks_at_once() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let mut runner = runner(
        database.url(),
        dir.path(),
        LONG_SLEEPS,
        &["-c", "4", "--shutdown-timeout", "1h"],
    );
    push(&sql, "flaky.sleep", 4, "[600000]");
    wait_until("all are claimed", || n_running(&sql) == 4);
    runner.terminate();
    runner.wait_for("finishing running tasks");
    runner.interrupt();
    runner.wait_for("releasing running tasks");
    assert_eq!(runner.wait().code(), Some(130), "{}", runner.stderr());
    assert_deregistered(&sql);
    assert_eq!(n_finished(&sql), 0);
    assert_unattempted(&sql, 4);
}

#[test]
fn attempts_exceeding_the_shutdown_timeout_are_released() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let mut runner = runner(
        database.url(),
        dir.path(),
        LONG_SLEEPS,
        &["-c", "4", "--shutdown-timeout", "1s"],
    );
    push(&sql, "flaky.sleep", 3, "[600000]");
    wait_until("all are claimed", || n_running(&sql) == 3);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    assert_deregistered(&sql);
    assert_unattempted(&sql, 3);
}

#[test]
fn an_idle_runner_exits_at_the_first_signal() {
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    push(&sql, "add_numbers", 1, "[2, 3]");
    wait_for_finished(&sql, 1);
    runner.interrupt();
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    assert_deregistered(&sql);
}

#[test]
fn an_operator_can_drain_a_runner_by_its_name() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = |name: &str| runner(database.url(), dir.path(), LONG_SLEEPS, &["--name", name]);
    let mut leaving = start("leaving");
    let mut staying = start("staying");
    wait_until("both are registered", || {
        sql.number("SELECT count(*) FROM pgtq.runners") == 2
    });
    let asked = cli(database.url(), &["runners", "--drain", "leaving"], "");
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert_eq!(leaving.wait().code(), Some(0), "{}", leaving.stderr());
    let unknown = cli(database.url(), &["runners", "--drain", "leaving"], "");
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    push(&sql, "flaky.sleep", 1, "[0]");
    wait_for_finished(&sql, 1);
    staying.terminate();
    assert_eq!(staying.wait().code(), Some(0), "{}", staying.stderr());
}
