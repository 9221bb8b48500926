//! Crash counts: outages and deploys do not count as crashes, and a suspect task does not
//! delay others.

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_tests::{Sql, cli, plugin_dir, wait_until};

use crate::tasks::{database, push, runner, wait_for_finished};

const LONG_SLEEPS: &str = "[handlers.'flaky.sleep']\ntimeout = '10m'";

/// Crash reports, attempts counted as crashes, and the highest crash count of a task.
const BLAME: &str = "SELECT (SELECT count(*) FROM pgtq.crash_reports),
    (SELECT count(*) FROM pgtq.attempts WHERE kind = 'crash'), (SELECT coalesce(max(crashes), 0) FROM pgtq.tasks)";

#[test]
fn an_outage_longer_than_a_lease_counts_no_crash() {
    const N: usize = 6;
    let data = tempfile::Builder::new()
        .prefix("pgtq-test-blame-")
        .tempdir()
        .expect("a temporary directory is created");
    let start = || {
        let options = ServerOptions::keep(data.path());
        PrivatePostgres::start(&options, &|line| eprintln!("{line}"))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let server = start();
    let url = server.url();
    cli(&url, &["migrate"], "").success();
    let dir = plugin_dir(&["flaky"]);
    let sql = Sql::connect(&url);
    let mut runners = [(); 2].map(|()| runner(&url, dir.path(), LONG_SLEEPS, &["-c", "3"]));
    push(&sql, "flaky.sleep", N, "[600000]");
    let n_running = "SELECT count(*) FROM pgtq.running";
    wait_until("all are running", || sql.number(n_running) == 6);
    drop(sql);
    drop(server);
    for runner in &mut runners {
        runner.wait_for("the lease may be lost");
    }
    let _server = start();
    for runner in &mut runners {
        runner.wait_for("registered again");
    }
    let sql = Sql::connect(&url);
    wait_until("all are running again", || sql.number(n_running) == 6);
    assert_eq!(sql.row(BLAME), "0|0|0");
}

#[test]
fn killing_a_draining_runner_counts_no_crash() {
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let mut runner = runner(
        database.url(),
        dir.path(),
        LONG_SLEEPS,
        &["-c", "4", "--shutdown-timeout", "1h"],
    );
    push(&sql, "flaky.sleep", 4, "[600000]");
    wait_until("all are claimed", || {
        sql.number("SELECT count(*) FROM pgtq.running") == 4
    });
    runner.terminate();
    wait_until("the database knows that it drains", || {
        sql.number("SELECT count(*) FROM pgtq.runners WHERE draining") == 1
    });
    runner.kill();
    sql.rows(
        "UPDATE pgtq.runners SET expires_at = now() - interval '1 second'; SELECT pgtq.rescue()",
    );
    assert_eq!(sql.row(BLAME), "0|0|0");
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.runnable"), 4);
}

#[test]
fn a_suspect_runs_beside_long_attempts_and_delays_no_task() {
    const SMALL: usize = 40;
    let (database, sql) = database();
    let dir = plugin_dir(&["flaky"]);
    let _runner = runner(database.url(), dir.path(), LONG_SLEEPS, &["-c", "8"]);
    push(&sql, "flaky.sleep", 3, "[600000]");
    wait_until("the long ones run", || {
        sql.number("SELECT count(*) FROM pgtq.running") == 3
    });
    // One task is suspect, and runs as long as the small ones.
    sql.rows(
        "INSERT INTO pgtq.runnable_tasks (queue, handler, priority, position, id, crashes, args)
         VALUES ('default', 'flaky.sleep', 0, nextval('pgtq.task_ids'), nextval('pgtq.task_ids'), 2, '[8000]')",
    );
    let solo = "SELECT count(*) FROM pgtq.claims WHERE solo";
    wait_until("the suspect runs", || sql.number(solo) == 1);
    for n in 1..=SMALL {
        push(&sql, "flaky.sleep", 1, "[1]");
        wait_for_finished(&sql, n);
    }
    let ended = "SELECT count(*) FROM pgtq.history WHERE args::text = '[8000]'";
    wait_until("the suspect has ended", || sql.number(ended) == 1);
    let slow = "SELECT count(*) FROM pgtq.complete WHERE args::text = '[1]' AND finished_at - pushed_at > interval '3 s'";
    assert_eq!(sql.number(slow), 0);
    let crashes = "SELECT max(crashes) FROM pgtq.history";
    assert_eq!(sql.number(crashes), 0, "a completion resets the count");
}
