//! PgBouncer in transaction mode, where each transaction may use another session.

use std::path::{Path, PathBuf};

use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Database, Pooler, Sql, plugin_dir, wait_until};
use tokio::runtime::Runtime;

use crate::fixture::start;
use crate::native::{Engine, book, leaf, n_rows, registry, role};
use crate::tasks::{assert_completed_once, database, push, wait_for_finished};

mod stopped;
mod tls;

struct Fixture {
    pooler: Pooler,
    database: Database,
    sql: Sql,
    role: String,
}

impl Fixture {
    /// `None` if pgbouncer is not available.
    fn new() -> Option<Self> {
        // Few connections, so that clients share sessions.
        Fixture::with(|dir, users| Pooler::start(dir, users, 4))
    }

    fn with(pooler: impl FnOnce(&Path, &[&str]) -> Option<Pooler>) -> Option<Self> {
        let (database, sql) = database();
        let dir = PathBuf::from(sql.row("SELECT current_setting('unix_socket_directories')"));
        let role = role(&sql);
        Some(Fixture {
            pooler: pooler(&dir, &["pgtq", &role])?,
            database,
            sql,
            role,
        })
    }

    fn url(&self) -> String {
        self.pooler.url(&self.sql.row("SELECT current_database()"))
    }
}

fn plain(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

#[test]
fn a_pooler_is_detected_and_each_task_runs_once() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let runtime = Runtime::new().expect("a runtime starts");
    let url = fixture.url();
    let handlers = || {
        registry(
            &fixture.role,
            &[("plain", plain), ("book", book), ("leaf", leaf)],
        )
    };
    let engines = [(); 2].map(|()| runtime.block_on(Engine::start(&url, handlers())));
    push(&fixture.sql, "plain", 200, "{}");
    // Each pushes a child; both insert a row in their task's transaction.
    push(&fixture.sql, "book", 60, "{}");
    let n = 200 + 2 * 60;
    wait_for_finished(&fixture.sql, n);
    let summaries = engines.map(|engine| runtime.block_on(engine.stop()));
    assert_completed_once(&fixture.sql, n);
    assert_eq!(n_rows(&fixture.sql), "120|120", "rows, tasks");
    let failures = fixture.sql.row("SELECT count(*) FROM pgtq.attempts");
    assert_eq!(failures, "0", "no attempt failed on the way");
    let n_claims: u64 = summaries.iter().map(|one| one.complete).sum();
    assert_eq!(n_claims, n as u64);
}

#[test]
fn only_a_pooler_is_detected_as_one() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let runtime = Runtime::new().expect("a runtime starts");
    let poll_only = |url: &str| {
        let config = DatabaseConfig::parse(url).expect("a valid URL");
        let store = runtime.block_on(Store::connect(config)).expect("connect");
        store.config().poll_only
    };
    assert!(poll_only(&fixture.url()));
    assert!(!poll_only(fixture.database.url()));
    // The setting has precedence: a pooler in session mode looks the same.
    assert!(!poll_only(&format!("{}&pgbouncer=false", fixture.url())));
}

#[test]
fn a_runner_behind_a_pooler_polls_unless_it_has_a_listen_url() {
    let Some(fixture) = Fixture::new() else {
        return;
    };
    let dir = plugin_dir(&["hello"]);
    let listeners = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%')";
    let mut polling = start(&fixture.url(), dir.path(), &[], &[]);
    polling.wait_for("does not support LISTEN, so new tasks are found by polling");
    polling.wait_for("running");
    push(&fixture.sql, "add_numbers", 20, "[2, 3]");
    wait_for_finished(&fixture.sql, 20);
    assert_eq!(fixture.sql.number(listeners), 0);
    polling.terminate();
    assert_eq!(polling.wait().code(), Some(0));

    let direct = [("PGTQ_LISTEN_URL", fixture.database.url())];
    let mut listening = start(&fixture.url(), dir.path(), &[], &direct);
    listening.wait_for("LISTEN uses database.listen_url");
    wait_until("it listens past the pooler", || {
        fixture.sql.number(listeners) == 1
    });
    push(&fixture.sql, "add_numbers", 20, "[2, 3]");
    wait_for_finished(&fixture.sql, 40);
    assert_completed_once(&fixture.sql, 40);
    listening.terminate();
    assert_eq!(listening.wait().code(), Some(0));
}
