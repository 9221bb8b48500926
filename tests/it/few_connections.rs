//! A server with few connections for the runner.

use pgtq_tests::{Database, Runner, Sql, User, http_page, plugin_dir, wait_until};
use tempfile::TempDir;

use crate::fixture::start;
use crate::tasks::{assert_completed_once, database, push, wait_for_finished};

struct Few {
    _database: Database,
    sql: Sql,
    role: String,
    runner: Runner,
    address: String,
    _plugins: TempDir,
}

/// Starts a runner whose role has this connection limit.
fn with(n_connections: u32) -> Few {
    let (database, sql) = database();
    let User { role, url } = User::of_kind("runner", database.url(), &sql);
    sql.rows(&format!(
        "ALTER ROLE {role} CONNECTION LIMIT {n_connections}"
    ));
    let plugins = plugin_dir(&["hello"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let mut runner = start(&url, plugins.path(), &["--listen", &address], &[]);
    runner.wait_for("running");
    Few {
        _database: database,
        sql,
        role,
        runner,
        address,
        _plugins: plugins,
    }
}

fn ready(address: &str) -> String {
    http_page(address, "/readyz").expect("the page is there")
}

#[test]
fn three_connections_are_enough_for_a_runner() {
    let mut few = with(3);
    push(&few.sql, "add_numbers", 500, "[2, 3]");
    few.sql.rows(
        "SELECT pgtq.push('add_numbers', '[1, 2]', delay => '1500 ms') FROM generate_series(1, 10)",
    );
    wait_for_finished(&few.sql, 510);
    assert_completed_once(&few.sql, 510);
    wait_until("it is ready", || {
        ready(&few.address).starts_with("HTTP/1.1 200")
    });
    let most = format!(
        "SELECT count(*) <= 3 FROM pg_stat_activity WHERE usename = '{}'",
        few.role
    );
    assert_eq!(few.sql.row(&most), "t");
    few.runner.terminate();
    assert_eq!(few.runner.wait().code(), Some(0));
}

#[test]
fn with_two_connections_readyz_reports_the_missing_one() {
    let few = with(2);
    push(&few.sql, "add_numbers", 50, "[2, 3]");
    wait_until("it reports the missing connection", || {
        let page = ready(&few.address);
        page.starts_with("HTTP/1.1 503")
            && page.contains("claims: failing for")
            && page.contains("a runner needs at least 3")
    });
    // Nothing is claimed if its outcome could not be stored.
    assert_eq!(few.sql.number("SELECT count(*) FROM pgtq.running"), 0);
    few.sql
        .rows(&format!("ALTER ROLE {} CONNECTION LIMIT 3", few.role));
    wait_for_finished(&few.sql, 50);
    assert_completed_once(&few.sql, 50);
    wait_until("it is ready", || {
        ready(&few.address).starts_with("HTTP/1.1 200")
    });
}

#[test]
fn a_runner_is_not_ready_while_outcomes_cannot_be_stored() {
    let few = with(10);
    let owner = few.sql.row("SELECT current_user");
    let allow = |yes: bool| {
        let verb = if yes { "GRANT" } else { "REVOKE" };
        let word = if yes { "TO" } else { "FROM" };
        few.sql.rows(&format!(
            "{verb} INSERT ON pgtq.history {word} {}",
            few.role
        ));
    };
    assert_ne!(owner, few.role);
    allow(false);
    push(&few.sql, "add_numbers", 20, "[2, 3]");
    wait_until("it reports that storing outcomes fails", || {
        let page = ready(&few.address);
        page.starts_with("HTTP/1.1 503") && page.contains("outcomes: failing for")
    });
    allow(true);
    wait_for_finished(&few.sql, 20);
    wait_until("it is ready", || {
        ready(&few.address).starts_with("HTTP/1.1 200")
    });
}
