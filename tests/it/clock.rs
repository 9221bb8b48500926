//! The clocks of the database and a runner differ by weeks: the database's clock is used.

use pgtq_tests::{Runner, Sql, cli, on_terminal, plugin_dir, program, wait_until, wrong_clock};

use crate::fixture::start;
use crate::tasks::{database, push};

const DAYS: i64 = 40;

/// Inserts a task finished this many days ago.
fn finished(sql: &Sql, id: i64, days: i32) {
    sql.rows(&format!(
        "INSERT INTO pgtq.history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at)
         SELECT {id}, 'complete', 0, 1, 0, 'default', 'add_numbers', '[]', at, at, at
         FROM (SELECT now() - interval '{days} days') AS finished (at)"
    ));
}

/// Inserts another runner, with a lease that expires in this many seconds.
fn other_runner(sql: &Sql, name: &str, seconds: i32) {
    sql.rows(&format!(
        "INSERT INTO pgtq.runners (name, host, pid, version, slots, queues, expires_at)
         VALUES ('{name}', 'elsewhere', 1, '0', 1, '{{*}}', now() + interval '{seconds} seconds')"
    ));
}

fn check(off_by_days: i64) {
    let (database, sql) = database();
    let plugins = plugin_dir(&["hello"]);
    let clock = wrong_clock(off_by_days * 24 * 3600);
    let mut env: Vec<(&str, &str)> = clock
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    env.push(("PGTQ_LOG", "info,pgtq=debug"));
    // One task within the retention, one beyond it.
    finished(&sql, -6, 6);
    finished(&sql, -8, 8);
    other_runner(&sql, "live", 3_600);
    other_runner(&sql, "expired", -1);
    sql.rows("SELECT pgtq.grant_role('viewer', 'pg_monitor')");
    let mut runner: Runner = start(database.url(), plugins.path(), &[], &env);
    let wrong = if off_by_days > 0 {
        "ahead of"
    } else {
        "behind"
    };
    let doctor = program()
        .arg("doctor")
        .env("PGTQ_DATABASE_URL", database.url())
        .envs(env.iter().copied())
        .output()
        .expect("pgtq runs");
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        found.contains(&format!("{} s {wrong} the server's", DAYS * 24 * 3600)),
        "{found}"
    );
    runner.wait_for("running");

    push(&sql, "add_numbers", 20, "[2, 3]");
    for delay in ["2 seconds", "3 hours"] {
        sql.rows(&format!(
            "SELECT pgtq.push('add_numbers', '[2, 3]', delay => '{delay}')"
        ));
    }
    let run = "SELECT count(*) FROM pgtq.history WHERE id > 0";
    wait_until("due tasks are finished", || sql.number(run) == 21);
    let early = "SELECT count(*) FROM pgtq.history WHERE id > 0 AND NOT
        (pushed_at <= due_at AND due_at <= started_at AND started_at <= finished_at AND finished_at <= now())";
    assert_eq!(sql.number(early), 0, "times are from the database's clock");
    assert_eq!(
        sql.number("SELECT count(*) FROM pgtq.scheduled"),
        1,
        "what is not due waits"
    );
    let held = "SELECT count(*) FROM pgtq.runners WHERE host <> 'elsewhere'
        AND seen_at <= now() AND expires_at BETWEEN now() AND now() + interval '15 seconds'";
    assert_eq!(sql.number(held), 1, "the lease");

    runner.wait_for("rescued the tasks of dead runners");
    let others = sql.rows("SELECT name FROM pgtq.runners WHERE host = 'elsewhere'");
    assert_eq!(
        others,
        ["live"],
        "the runner with the expired lease is removed"
    );
    runner.wait_for("pruned history");
    let kept = sql.rows("SELECT id FROM pgtq.history WHERE id < 0");
    assert_eq!(kept, ["-6"], "what is kept");

    // Ages in the output of verbs on this machine.
    let id = sql.row("SELECT max(id) FROM pgtq.history");
    for verb in [
        &["tasks"][..],
        &["tasks", "state:scheduled"],
        &["show", &id],
        &["runners"],
        &["queues"],
        &["roles"],
        &["plugins"],
        &["plugins", "--handlers"],
        &["migrate", "--status"],
    ] {
        let mut command = program();
        command
            .args(verb)
            .env("PGTQ_DATABASE_URL", database.url())
            .envs(env.iter().copied());
        let shown = on_terminal(command);
        assert!(!shown.is_empty(), "{verb:?}");
        for days in ["39d", "40d", "46d", "34d"] {
            assert!(
                !shown.split_whitespace().any(|word| word == days),
                "{verb:?} shows an age of this machine: {shown}"
            );
        }
    }
    let in_hours = cli(
        database.url(),
        &["push", "add_numbers", "[2, 3]", "--delay", "1s"],
        "",
    );
    in_hours.success();
    wait_until("a short delay is short", || sql.number(run) == 22);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
}

#[test]
fn a_runner_with_a_clock_weeks_ahead_uses_the_database_clock() {
    check(DAYS);
}

#[test]
fn a_runner_with_a_clock_weeks_behind_uses_the_database_clock() {
    check(-DAYS);
}
