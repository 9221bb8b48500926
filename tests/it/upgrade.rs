//! A newer program migrates the schema while an older runner is running.

use pgtq_tests::{Runner, Sql, cli, http_page, plugin_dir, wait_until};

use crate::fixture::{start, wait_for_handlers};
use crate::tasks::{assert_completed_once, database, n_finished, push, wait_for_finished};

mod older;

/// Simulates `pgtq migrate` of a newer program: adds a version without changes.
fn add_version(sql: &Sql, serves_us: bool) -> i64 {
    let newest = sql.number("SELECT max(version) FROM pgtq.migrations");
    let (next, oldest) = (newest + 1, newest + i64::from(!serves_us));
    sql.rows(&format!(
        "BEGIN;
         ALTER TABLE pgtq.runnable_tasks ADD COLUMN later{next} integer;
         INSERT INTO pgtq.migrations (version, name, sha256, serves) VALUES ({next}, 'later', 'x', {oldest});
         COMMIT"
    ));
    next
}

/// Starts a runner with plugins. Returns it with the address of its HTTP server.
fn runner(url: &str, plugins: &tempfile::TempDir) -> (Runner, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let mut runner = start(url, plugins.path(), &["--listen", &address], &[]);
    runner.wait_for("running");
    wait_for_handlers(url, &[]);
    (runner, address)
}

fn is_ready(address: &str) -> bool {
    let page = http_page(address, "/readyz").expect("the page is there");
    page.starts_with("HTTP/1.1 200")
}

#[test]
fn a_runner_continues_under_a_newer_schema_that_serves_it() {
    const N: usize = 2_000;
    let (database, sql) = database();
    let plugins = plugin_dir(&["hello"]);
    let (runner, address) = runner(database.url(), &plugins);
    push(&sql, "add_numbers", N, "[2, 3]");
    wait_until("some tasks are finished", || n_finished(&sql) > 20);
    add_version(&sql, true);
    let before = n_finished(&sql);
    push(&sql, "add_numbers", 100, "[2, 3]");
    wait_for_finished(&sql, N + 100);
    assert!(before < N as i64, "the schema changed while tasks ran");
    assert_completed_once(&sql, N + 100);
    assert!(is_ready(&address));
    assert_eq!(sql.number("SELECT max(crashes) FROM pgtq.history"), 0);
    let log = runner.stderr();
    assert!(
        !log.contains("no longer serves") && !log.contains("ERROR"),
        "{log}"
    );
    // The verbs still work, and there is nothing to migrate.
    let pushed = cli(
        database.url(),
        &["push", "add_numbers", "[2, 3]", "--wait"],
        "",
    );
    pushed.success();
    assert!(
        cli(database.url(), &["migrate"], "")
            .stderr
            .contains("is up to date")
    );
}

#[test]
fn a_runner_not_served_by_a_newer_schema_reports_it_and_claims_nothing() {
    let (database, sql) = database();
    let plugins = plugin_dir(&["hello"]);
    let (mut runner, address) = runner(database.url(), &plugins);
    push(&sql, "add_numbers", 20, "[2, 3]");
    wait_for_finished(&sql, 20);
    assert!(is_ready(&address));

    let next = add_version(&sql, false);
    let ours = next - 1;
    runner.wait_for("the schema no longer serves this runner, which claims nothing");
    runner.wait_for(&format!(
        "it is at version {next}, which supports programs for schema version {next} or later, and this pgtq is for version {ours}; update this pgtq"
    ));
    let claims = || sql.number("SELECT last_value FROM pgtq.claim_ids");
    let before = claims();
    push(&sql, "add_numbers", 20, "[2, 3]");
    let at_least = sql.number("SELECT count(*) FROM pgtq.runners");
    assert_eq!(at_least, 1, "it is still registered");
    assert!(!is_ready(&address));
    let health = http_page(&address, "/healthz").expect("the page is there");
    assert!(health.starts_with("HTTP/1.1 200"), "it is alive: {health}");
    // One heartbeat later, after ten polls.
    let seen = sql.row("SELECT max(seen_at) FROM pgtq.runners");
    wait_until("it sends heartbeats", || {
        sql.row("SELECT max(seen_at) FROM pgtq.runners") != seen
    });
    assert_eq!(
        (claims(), n_finished(&sql)),
        (before, 20),
        "nothing was claimed"
    );
    for verb in [
        &["tasks"][..],
        &["push", "add_numbers"],
        &["migrate"],
        &["run"],
    ] {
        let refused = cli(database.url(), verb, "");
        assert_eq!(refused.code, Some(5), "{verb:?}: {refused:?}");
        assert!(
            refused.stderr.contains("update this pgtq"),
            "{verb:?}: {refused:?}"
        );
    }
    let looked = cli(database.url(), &["doctor"], "");
    assert!(looked.stdout.contains("update this pgtq"), "{looked:?}");

    // As if the newer schema served it again.
    sql.rows(&format!(
        "UPDATE pgtq.migrations SET serves = {ours} WHERE version = {next}"
    ));
    runner.wait_for("the schema serves this runner again");
    wait_for_finished(&sql, 40);
    assert_completed_once(&sql, 40);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
}
