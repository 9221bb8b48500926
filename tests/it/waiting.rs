//! A runner that starts before its database, and a runner without handlers.

use std::path::Path;

use pgtq_tests::{Database, Proxy, Runner, RunnerOptions, Sql, cli, plugin_dir, wait_until};

use crate::tasks::{push, wait_for_finished};

fn start(url: &str, plugins: &Path, arguments: &[&str]) -> Runner {
    let options = RunnerOptions {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        ..RunnerOptions::default()
    };
    Runner::start(url, plugins, &options)
}

/// A database behind a proxy that refuses connections.
fn unreachable() -> (Database, Proxy, String) {
    let database = Database::empty();
    let sql = Sql::connect(database.url());
    let proxy = Proxy::start(sql.row("SELECT current_setting('unix_socket_directories')"));
    let url = proxy.url(&sql.row("SELECT current_database()"));
    proxy.go_down(usize::MAX);
    (database, proxy, url)
}

#[test]
fn a_runner_waits_for_its_database_and_its_schema() {
    let (database, proxy, url) = unreachable();
    let dir = plugin_dir(&["hello"]);
    let mut runner = start(&url, dir.path(), &["--wait-for-database"]);
    runner.wait_for("waiting for the database");
    proxy.go_down(0);
    runner.wait_for("run `pgtq migrate`");
    cli(database.url(), &["migrate"], "").success();
    runner.wait_for("the database is available");
    let sql = Sql::connect(database.url());
    push(&sql, "add_numbers", 1, "[2, 3]");
    wait_for_finished(&sql, 1);
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(0));
    // Each reason is logged once, not at every retry.
    let log = runner.stderr();
    let n = log.matches("find the schema").count();
    assert_eq!(n, 1, "{log}");
}

#[test]
fn waiting_for_the_database_ends_by_signal_or_timeout() {
    let (_database, _proxy, url) = unreachable();
    let dir = plugin_dir(&["hello"]);
    let mut runner = start(&url, dir.path(), &["--wait-for-database"]);
    runner.wait_for("waiting for the database");
    runner.terminate();
    assert_eq!(runner.wait().code(), Some(130), "{}", runner.stderr());
    let mut runner = start(&url, dir.path(), &["--wait-for-database=1s"]);
    assert_eq!(runner.wait().code(), Some(4), "{}", runner.stderr());
    let log = runner.stderr();
    assert!(
        log.contains("--wait-for-database timed out after 1.0 s"),
        "{log}"
    );
    // Without the flag, or if waiting cannot help, the first error is final.
    let mut runner = start(&url, dir.path(), &[]);
    assert_eq!(runner.wait().code(), Some(4), "{}", runner.stderr());
    assert!(!runner.stderr().contains("waiting for the database"));
    let mut runner = start("postgres://[", dir.path(), &["--wait-for-database"]);
    assert_eq!(runner.wait().code(), Some(2), "{}", runner.stderr());
}

#[test]
fn a_drain_without_handlers_fails_with_the_reason() {
    let database = Database::migrated();
    let empty = plugin_dir(&[]);
    let missing = empty.path().join("missing");
    let broken = plugin_dir(&[]);
    std::fs::write(broken.path().join("broken.wasm"), "not a plugin").expect("it is written");
    for (dir, words) in [
        (missing.as_path(), "does not exist"),
        (empty.path(), "contains no plugin"),
        (broken.path(), "was rejected\n       broken.wasm: "),
    ] {
        let mut runner = start(database.url(), dir, &["--drain"]);
        assert_eq!(runner.wait().code(), Some(1), "{}", runner.stderr());
        let log = runner.stderr();
        assert!(log.contains("no handler is loaded: "), "{log}");
        assert!(log.contains(words), "{log}");
    }
    let good = plugin_dir(&["hello"]);
    let mut runner = start(database.url(), good.path(), &["--drain"]);
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    // A broken plugin beside a good one does not prevent a drain.
    std::fs::copy(
        broken.path().join("broken.wasm"),
        good.path().join("broken.wasm"),
    )
    .expect("it is copied");
    let mut runner = start(database.url(), good.path(), &["--drain"]);
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    wait_until("no runner is registered", || {
        let sql = Sql::connect(database.url());
        sql.number("SELECT count(*) FROM pgtq.runners") == 0
    });
}
