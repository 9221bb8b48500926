//! Fencing: a runner that cannot reach the database, or was stopped, aborts its attempts
//! before other runners can claim its tasks, and starts no others.

use pgtq_tests::{Database, HttpServer, Proxy, Runner, RunnerOptions, Sql, plugin_dir, wait_until};

use crate::tasks::{assert_completed_once, database, push, runner, wait_for_finished};

/// A long timeout for `flaky.sleep`.
const LONG_SLEEPS: &str = "[handlers.'flaky.sleep']\ntimeout = '5m'\n";

/// The log line of a runner that no longer trusts its lease.
const GIVES_UP: &str = "the lease may be lost";

/// A proxy to a database, and the URL through it.
fn proxy(database: &Database, sql: &Sql) -> (Proxy, String) {
    let dir = sql.row("SELECT current_setting('unix_socket_directories')");
    let proxy = Proxy::start(dir);
    let name = sql.row("SELECT current_database()");
    let url = proxy.url(&name);
    assert_ne!(url, database.url());
    (proxy, url)
}

/// The timestamp of a log line.
fn time_of(runner: &Runner, text: &str) -> String {
    let log = runner.stderr();
    let line = log.lines().find(|line| line.contains(text));
    let words = line.expect("the line was logged").split_whitespace();
    words.take(1).collect()
}

#[test]
fn a_disconnected_runner_stops_before_its_lease_expires() {
    const N: usize = 4;
    let (database, sql) = database();
    let (proxy, url) = proxy(&database, &sql);
    let dir = plugin_dir(&["flaky"]);
    let mut cut_off = runner(&url, dir.path(), LONG_SLEEPS, &["--name", "cut-off"]);
    push(&sql, "flaky.sleep", N, "[600000]");
    let n_running = "SELECT count(*) FROM pgtq.running";
    wait_until("all are running", || sql.number(n_running) == 4);
    let mut other = runner(
        database.url(),
        dir.path(),
        LONG_SLEEPS,
        &["--name", "other"],
    );
    proxy.set_black_hole(true);
    let lease = sql.row("SELECT expires_at FROM pgtq.runners WHERE name = 'cut-off'");
    // Shortens the tasks, so that the other runner finishes soon.
    sql.rows(
        "UPDATE pgtq.claims SET args = array_fill('[10]'::json, ARRAY[cardinality(task_ids)])",
    );
    cut_off.wait_for(GIVES_UP);
    let gave_up = time_of(&cut_off, GIVES_UP);
    let in_time = format!("SELECT '{gave_up}'::timestamptz < '{lease}'::timestamptz");
    assert_eq!(sql.row(&in_time), "t", "{gave_up}, {lease}");

    wait_for_finished(&sql, N);
    let how = sql
        .row("SELECT min(attempts), max(attempts), min(crashes), max(crashes) FROM pgtq.history");
    assert_eq!(how, "1|1|0|0", "attempts and crashes");
    // When it is connected again, it continues with another id.
    proxy.set_black_hole(false);
    cut_off.wait_for("registered again");
    other.terminate();
    assert_eq!(other.wait().code(), Some(0));
    push(&sql, "flaky.sleep", N, "[1]");
    wait_for_finished(&sql, 2 * N);
    assert_completed_once(&sql, 2 * N);
    cut_off.terminate();
    assert_eq!(cut_off.wait().code(), Some(0));
}

#[test]
fn a_runner_paused_beyond_its_lease_starts_nothing_before_a_heartbeat() {
    const N: usize = 3_000;
    let (database, sql) = database();
    let (proxy, url) = proxy(&database, &sql);
    let server = HttpServer::start(|_| (204, Vec::new(), Vec::new()));
    let dir = plugin_dir(&["flaky", "webhook"]);
    let file = dir.path().join("pgtq.toml");
    let grants = format!(
        "{LONG_SLEEPS}[grants.webhook]\nhttp = ['POST {}']\nsecrets.webhook_signing = {{ read = true }}\n\
         [secrets.webhook_signing]\nenv = 'SIGNING'\n",
        server.url("/")
    );
    std::fs::write(&file, grants).expect("a configuration is written");
    let options = RunnerOptions {
        arguments: vec!["-c".to_owned(), "1".to_owned()],
        env: vec![
            ("PGTQ_CONFIG".to_owned(), file.display().to_string()),
            ("SIGNING".to_owned(), "whsec_of_a_test".to_owned()),
        ],
    };
    let mut runner = Runner::start(&url, dir.path(), &options);
    runner.wait_for("registered");
    // HTTP requests are visible effects of an attempt that must not run.
    let args = format!(
        "{{\"url\": \"{}\", \"event\": \"e\", \"body\": 1}}",
        server.url("/")
    );
    push(&sql, "deliver", N, &args);
    wait_until("many requests have arrived", || {
        server.requests().len() >= 300
    });
    // While it sleeps, claimed tasks wait in the same process.
    sql.rows("SELECT pgtq.push('flaky.sleep', '[3000]', priority => -10)");
    let claimed =
        "SELECT count(*) FILTER (WHERE handler = 'flaky.sleep'), count(*) > 1 FROM pgtq.running";
    let mut n_requests = 0;
    wait_until("it sleeps, and others wait", || {
        let before = std::mem::replace(&mut n_requests, server.requests().len());
        before == n_requests && sql.row(claimed) == "1|t"
    });
    runner.pause();
    proxy.set_black_hole(true);
    let expired = "SELECT count(*) FROM pgtq.runners WHERE expires_at < now()";
    wait_until("its lease has expired", || sql.number(expired) == 1);
    let before = server.requests().len();
    runner.resume();
    runner.wait_for(GIVES_UP);
    assert_eq!(server.requests().len(), before);

    // It recovers, and no task is lost.
    proxy.set_black_hole(false);
    runner.wait_for("registered again");
    wait_for_finished(&sql, N + 1);
    assert_completed_once(&sql, N + 1);
}
