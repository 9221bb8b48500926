//! Through PgBouncer in transaction mode, where each transaction may be another session.

use std::path::{Path, PathBuf};

use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Database, Pooler, Sql, plugin_dir, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, book, leaf, n_rows, registry, role};
use crate::scene::start;
use crate::tasks::{assert_completed_once, database, push, wait_for_ended};

mod stopped;
mod tls;

struct Scene {
    pooler: Pooler,
    database: Database,
    sql: Sql,
    role: String,
}

impl Scene {
    /// `None` where there is no pooler.
    fn new() -> Option<Self> {
        // Few, so that everybody meets everybody's sessions.
        Scene::with(|dir, users| Pooler::start(dir, users, 4))
    }

    fn with(pooler: impl FnOnce(&Path, &[&str]) -> Option<Pooler>) -> Option<Self> {
        let (database, sql) = database();
        let dir = PathBuf::from(sql.row("SELECT current_setting('unix_socket_directories')"));
        let role = role(&sql);
        Some(Scene {
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
fn a_pooler_is_found_and_all_work_goes_through_it_once() {
    let Some(scene) = Scene::new() else { return };
    let runtime = Runtime::new().expect("a runtime starts");
    let url = scene.url();
    let handlers = || {
        registry(
            &scene.role,
            &[("plain", plain), ("book", book), ("leaf", leaf)],
        )
    };
    let engines = [(); 2].map(|()| runtime.block_on(Engine::start(&url, handlers())));
    push(&scene.sql, "plain", 200, "{}");
    // Each pushes a child; both write a row in their task's own transaction.
    push(&scene.sql, "book", 60, "{}");
    let n = 200 + 2 * 60;
    wait_for_ended(&scene.sql, n);
    let summaries = engines.map(|engine| runtime.block_on(engine.stop()));
    assert_completed_once(&scene.sql, n);
    assert_eq!(n_rows(&scene.sql), "120|120", "rows, tasks");
    let failures = scene.sql.row("SELECT count(*) FROM pgtq.attempts");
    assert_eq!(failures, "0", "no attempt failed on the way");
    let n_claims: u64 = summaries.iter().map(|one| one.complete).sum();
    assert_eq!(n_claims, n as u64);
}

#[test]
fn only_a_pooler_is_taken_for_one() {
    let Some(scene) = Scene::new() else { return };
    let runtime = Runtime::new().expect("a runtime starts");
    let poll_only = |url: &str| {
        let config = DatabaseConfig::parse(url).expect("an address");
        let store = runtime.block_on(Store::connect(config)).expect("connect");
        store.config().poll_only
    };
    assert!(poll_only(&scene.url()));
    assert!(!poll_only(scene.database.url()));
    // Who says so is believed: a pooler that keeps sessions looks the same.
    assert!(!poll_only(&format!("{}&pgbouncer=false", scene.url())));
}

#[test]
fn a_runner_behind_a_pooler_says_that_it_polls_and_listens_past_it_when_told_where() {
    let Some(scene) = Scene::new() else { return };
    let dir = plugin_dir(&["hello"]);
    let listeners = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%')";
    let mut deaf = start(&scene.url(), dir.path(), &[], &[]);
    deaf.wait_for("does not support LISTEN, so new tasks are found by polling");
    deaf.wait_for("running");
    push(&scene.sql, "add_numbers", 20, "[2, 3]");
    wait_for_ended(&scene.sql, 20);
    assert_eq!(scene.sql.number(listeners), 0);
    deaf.terminate();
    assert_eq!(deaf.wait().code(), Some(0));

    let direct = [("PGTQ_LISTEN_URL", scene.database.url())];
    let mut hears = start(&scene.url(), dir.path(), &[], &direct);
    hears.wait_for("LISTEN uses database.listen_url");
    wait_until("it listens past the pooler", || {
        scene.sql.number(listeners) == 1
    });
    push(&scene.sql, "add_numbers", 20, "[2, 3]");
    wait_for_ended(&scene.sql, 40);
    assert_completed_once(&scene.sql, 40);
    hears.terminate();
    assert_eq!(hears.wait().code(), Some(0));
}
