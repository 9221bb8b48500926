//! Crashed and stopped runners: other runners take over, and each task has one outcome.

use pgtq_tests::{Sql, plugin_dir, wait_until};

use crate::tasks::{
    UNFINISHED, assert_completed_once, database, n_finished, push, runner, wait_for_finished,
};

/// A long timeout for `flaky.sleep`.
const LONG_SLEEPS: &str = "[handlers.'flaky.sleep']\ntimeout = '5m'";

/// The number of claimed tasks.
fn n_running(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM pgtq.running")
}

/// Expires every lease and confirms the crashes, as another live runner would
/// after the lease time.
fn end_leases(sql: &Sql) {
    sql.rows(
        "UPDATE pgtq.runners SET expires_at = now() - interval '1 second' WHERE id > 0;
         SELECT pgtq.rescue();
         CREATE OR REPLACE FUNCTION pgtq.server_is_settled() RETURNS boolean LANGUAGE sql AS 'SELECT true';
         INSERT INTO pgtq.runners (id, name, host, pid, version, slots, queues, expires_at, steady_since)
         VALUES (-1, 'witness', 'here', 1, '0', 4, '{}', now() + interval '1 hour', now() - interval '1 hour')
         ON CONFLICT (id) DO UPDATE SET seen_at = now();
         UPDATE pgtq.crash_reports SET reported_at = now() - interval '1 minute';
         SELECT pgtq.rescue()",
    );
}

#[test]
fn five_hundred_tasks_of_a_killed_runner_finish_on_another() {
    const N: usize = 500;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = || runner(database.url(), dir.path(), LONG_SLEEPS, &["-c", "500"]);
    let mut first = start();
    // Long enough to claim all tasks before the first one finishes.
    push(&sql, "flaky.sleep", N, "[600000]");
    wait_until("every task is claimed", || n_running(&sql) == 500);
    first.kill();
    let killed_at = sql.row("SELECT clock_timestamp()");
    // Shortens the tasks, so that the second runner finishes soon.
    sql.rows(
        "UPDATE pgtq.claims SET args = array_fill('[10]'::json, ARRAY[cardinality(task_ids)])",
    );
    let _second = start();
    wait_for_finished(&sql, N);

    assert_completed_once(&sql, N);
    let counts = sql
        .row("SELECT min(attempts), max(attempts), min(crashes), max(crashes) FROM pgtq.history");
    assert_eq!(counts, "1|1|0|0", "attempts and crashes");
    let lost = "SELECT count(*), count(DISTINCT task_id) FROM pgtq.attempts WHERE kind IN ('lost', 'crash')";
    assert_eq!(sql.row(lost), "500|500");
    let seconds = sql.row(&format!(
        "SELECT round(extract(epoch FROM min(started_at) - '{killed_at}'), 1),
                round(extract(epoch FROM max(started_at) - '{killed_at}'), 1) FROM pgtq.history"
    ));
    eprintln!("seconds from the kill to the first and the last restart: {seconds}");
    // A lease of 15 s, and time for a slow machine. By the database's clock.
    let late = sql.number(&format!(
        "SELECT count(*) FROM pgtq.history WHERE started_at > '{killed_at}'::timestamptz + interval '60 s'"
    ));
    assert_eq!(late, 0, "{seconds}");
}

#[test]
fn outcomes_of_a_runner_paused_beyond_its_lease_are_discarded() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = |name| {
        runner(
            database.url(),
            dir.path(),
            LONG_SLEEPS,
            &["-c", "8", "--name", name],
        )
    };
    let mut stopped = start("stopped");
    push(&sql, "flaky.sleep", 8, "[3000]");
    wait_until("every task is claimed", || n_running(&sql) == 8);
    stopped.pause();
    let mut other = start("other");
    wait_for_finished(&sql, 8);
    let ended = "SELECT id, state, runner_id, claim_id, finished_at FROM pgtq.history ORDER BY id";
    let before = sql.rows(ended);
    stopped.resume();
    stopped.wait_for("registered again");
    // The runner did not crash, so no crash is counted.
    let blamed = "SELECT (SELECT count(*) FROM pgtq.crash_reports), count(*) FROM pgtq.attempts WHERE kind = 'crash'";
    assert_eq!(sql.row(blamed), "0|0");

    // It continues with its new id after the other runner has exited.
    other.terminate();
    assert_eq!(other.wait().code(), Some(0));
    push(&sql, "flaky.sleep", 8, "[1]");
    wait_for_finished(&sql, 16);
    assert_completed_once(&sql, 16);
    assert_eq!(
        sql.rows(&format!("SELECT * FROM ({ended} LIMIT 8) AS first")),
        before
    );
    let who = sql.row("SELECT count(DISTINCT runner_id) FROM pgtq.history");
    assert_eq!(who, "2");
    assert_eq!(sql.rows("SELECT name FROM pgtq.runners"), ["stopped"]);
    stopped.terminate();
    assert_eq!(stopped.wait().code(), Some(0));
}

#[test]
fn a_task_with_three_runner_crashes_fails_and_others_complete() {
    const OTHERS: usize = 100;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = || runner(database.url(), dir.path(), LONG_SLEEPS, &["-c", "101"]);
    let poison = sql.number("SELECT pgtq.push('flaky.sleep', '[600000]')");
    push(&sql, "flaky.sleep", OTHERS, "[600000]");
    // Two crashes with all tasks: every task is suspect.
    for _ in 0..2 {
        let mut victim = start();
        wait_until("all are running", || n_running(&sql) == 101);
        victim.kill();
        end_leases(&sql);
    }
    let crashes = sql.row("SELECT count(*), min(crashes), max(crashes) FROM pgtq.runnable");
    assert_eq!(crashes, "101|2|2");
    sql.rows(&format!(
        "UPDATE pgtq.runnable_tasks SET args = '[10]' WHERE id <> {poison}"
    ));
    // Now one suspect runs at a time. A crash while other tasks are claimed requires one
    // more crash, because one of them may be the cause.
    let alone = format!(
        "SELECT count(*) FROM pgtq.claims WHERE solo AND task_ids = ARRAY[{poison}::bigint]"
    );
    let is_over = format!("SELECT count(*) FROM pgtq.history WHERE id = {poison}");
    let mut n_crashes = 2;
    while sql.number(&is_over) == 0 {
        let mut victim = start();
        wait_until("the crashing task is the running suspect", || {
            sql.number(&alone) == 1
        });
        victim.kill();
        end_leases(&sql);
        n_crashes += 1;
    }
    assert!((3..=4).contains(&n_crashes), "{n_crashes}");
    let _survivor = start();
    wait_for_finished(&sql, OTHERS + 1);

    let outcomes = sql.rows(&format!(
        "SELECT id = {poison}, state, error_kind, crashes >= 3, count(*) FROM pgtq.history
         GROUP BY 1, 2, 3, 4 ORDER BY 1"
    ));
    assert_eq!(outcomes, ["f|complete||f|100", "t|failed|crash|t|1"]);
    let message = sql.row(&format!(
        "SELECT error_message FROM pgtq.failed WHERE id = {poison}"
    ));
    let died = "runners died while they ran it, the last one while it";
    assert!(message.contains(died), "{message}");
    assert_eq!(sql.number(UNFINISHED), 0);
}

/// The process that holds this task now: together with others, or alone if it is suspect.
fn holder(sql: &Sql, task: i64) -> Option<u32> {
    let rows = sql.rows(&format!(
        "SELECT r.pid FROM pgtq.in_flight AS u JOIN pgtq.runners AS r ON r.id = u.runner_id
         WHERE u.id = {task} AND (u.solo OR u.crashes < 2)"
    ));
    rows.first().map(|pid| pid.parse().expect("a process id"))
}

#[test]
fn a_task_that_kills_its_runner_does_not_stop_a_hundred_others() {
    const OTHERS: usize = 100;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let start = || runner(database.url(), dir.path(), LONG_SLEEPS, &["-c", "8"]);
    let mut runners = [start(), start(), start()];
    push(&sql, "flaky.sleep", OTHERS / 2, "[200]");
    let poison = sql.number("SELECT pgtq.push('flaky.sleep', '[600000]')");
    push(&sql, "flaky.sleep", OTHERS / 2, "[200]");
    let mut n_crashes = 0;
    let is_over = format!("SELECT count(*) FROM pgtq.history WHERE id = {poison}");
    while sql.number(&is_over) == 0 {
        let mut pid = None;
        wait_until("the crashing task runs or is finished", || {
            pid = holder(&sql, poison);
            pid.is_some() || sql.number(&is_over) == 1
        });
        let mut all = runners.iter_mut();
        let Some(victim) = all.find(|runner| Some(runner.pid()) == pid) else {
            continue;
        };
        victim.kill();
        n_crashes += 1;
        // Confirms the crash within seconds.
        sql.rows(&format!(
            "CREATE OR REPLACE FUNCTION pgtq.server_is_settled() RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE OR REPLACE FUNCTION pgtq.crash_wait() RETURNS interval LANGUAGE sql AS $$ SELECT interval '2 s' $$;
             UPDATE pgtq.runners SET expires_at = now() - interval '1 second' WHERE pid = {}",
            victim.pid()
        ));
        *victim = start();
    }
    wait_for_finished(&sql, OTHERS + 1);
    let outcomes = sql.rows(&format!(
        "SELECT id = {poison}, state, error_kind, max(crashes) <= 2, max(attempts), count(*)
         FROM pgtq.history GROUP BY 1, 2, 3 ORDER BY 1"
    ));
    assert_eq!(outcomes, ["f|complete||t|1|100", "t|failed|crash|f|0|1"]);
    // A crash beside other tasks, or before the first confirmation, requires one more.
    assert!((3..=6).contains(&n_crashes), "{n_crashes}");
    assert_eq!(sql.number(UNFINISHED), 0);
}

#[test]
fn repeated_connection_cuts_while_draining_lose_no_task() {
    const N: usize = 4_000;
    let (database, sql) = database();
    let dir = plugin_dir(&["hello"]);
    push(&sql, "add_numbers", N, "[2, 3]");
    let mut runner = runner(database.url(), dir.path(), "", &["--drain"]);
    let mut n_cut = 0;
    let mut n_storms = 0;
    let mut next = 200;
    while next < i64::try_from(N).expect("small") {
        wait_until("a few more tasks have ended", || n_finished(&sql) >= next);
        n_cut += sql.number(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND backend_type = 'client backend'",
        );
        n_storms += 1;
        next = n_finished(&sql) + 200;
    }
    let status = runner.wait();
    assert_eq!(status.code(), Some(0), "{}", runner.stderr());
    assert_completed_once(&sql, N);
    assert_eq!(sql.number("SELECT max(attempts) FROM pgtq.history"), 1);
    let others = sql.rows("SELECT kind, count(*) FROM pgtq.attempts GROUP BY 1");
    eprintln!("{n_cut} connections cut in {n_storms} storms; attempts besides: {others:?}");
    assert!(n_cut > 0);
}
