//! Faults of Postgres: no task is lost, and the runner recovers.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_task::{Attempt, HandlerFuture, Outcome, Report, SqlGrant};
use pgtq_tests::{Proxy, Sql, cli, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, busy, registry};
use crate::tasks::{assert_completed_once, database, n_finished, push, wait_for_finished};

fn brief(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        busy(Duration::from_millis(5)).await;
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

fn engine(runtime: &Runtime, url: &str) -> Engine {
    runtime.block_on(Engine::start(url, registry("unused", &[("brief", brief)])))
}

fn private(settings: &[(&str, &str)]) -> (PrivatePostgres, Sql) {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let options = ServerOptions {
        settings: settings.iter().map(own).collect(),
        ..ServerOptions::ephemeral()
    };
    let server = PrivatePostgres::start(&options, &|line| eprintln!("{line}"))
        .unwrap_or_else(|error| panic!("{error}"));
    cli(&server.url(), &["migrate"], "").success();
    let sql = Sql::connect(&server.url());
    (server, sql)
}

/// All sessions of this database except the current one.
const OTHERS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[test]
fn without_a_free_connection_the_runner_waits_and_doctor_names_the_cause() {
    let (server, sql) = private(&[("max_connections", "20")]);
    let runtime = Runtime::new().expect("a runtime starts");
    let engine = engine(&runtime, &server.url());
    push(&sql, "brief", 400, "{}");
    wait_until("some tasks are finished", || n_finished(&sql) > 20);
    // Other clients take every connection when the runner has lost its own.
    let mut others = Vec::new();
    // Repeated, because a terminating connection still counts for a moment.
    wait_until("no connection is left, not for the doctor either", || {
        sql.rows(&format!(
            "SELECT pg_terminate_backend(pid) {OTHERS} AND application_name <> 'other'"
        ));
        while let Ok(one) = Sql::try_connect(&format!("{}&application_name=other", server.url())) {
            others.push(one);
        }
        let left = format!("SELECT count(*) {OTHERS} AND application_name <> 'other'");
        let doctor = || cli(&server.url(), &["doctor"], "").stdout;
        sql.number(&left) == 0 && doctor().contains("no connection is left for this user")
    });
    let before = n_finished(&sql);
    drop(others);
    wait_for_finished(&sql, 400);
    assert!(before < 400, "tasks were left");
    assert_completed_once(&sql, 400);
    runtime.block_on(engine.stop());
}

#[test]
fn cancelled_statements_lock_timeouts_and_deadlocks_only_cost_time() {
    const N: usize = 1_500;
    let (database, sql) = database();
    let name = sql.row("SELECT current_database()");
    sql.rows(&format!(
        "ALTER DATABASE {name} SET lock_timeout = '150ms'; ALTER DATABASE {name} SET deadlock_timeout = '50ms'"
    ));
    let runtime = Runtime::new().expect("a runtime starts");
    let engine = engine(&runtime, database.url());
    push(&sql, "brief", N, "{}");
    let done = AtomicBool::new(false);
    let (n_cancelled, n_locks): (u32, u32) = std::thread::scope(|scope| {
        let injector = scope.spawn(|| {
            let sql = Sql::connect(database.url());
            // Locks the partitions and not their parent, so that a statement that stores
            // outcomes waits after it has locked its claims.
            let parts = sql.rows(
                "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'pgtq.history'::regclass",
            );
            let lock = format!("BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE", parts.join(", "));
            let cancel = format!(
                "SELECT count(pg_cancel_backend(pid)) {OTHERS} AND state = 'active' AND query LIKE '-- Caller%'"
            );
            let (mut n_cancelled, mut n_locks) = (0, 0);
            while !done.load(SeqCst) && n_locks < 24 {
                if sql.try_rows(&lock).is_ok() {
                    n_locks += 1;
                    // Exceeds the lock timeout, or deadlocks with the runner, or is
                    // followed by a cancel.
                    let what = match n_locks % 3 {
                        0 => "SELECT pg_sleep(0.25)",
                        1 => "SELECT pg_sleep(0.03); SELECT count(*) FROM (SELECT FROM pgtq.claims FOR UPDATE) AS c",
                        _ => "SELECT pg_sleep(0.05)",
                    };
                    let _ = sql.try_rows(what);
                    if n_locks % 3 == 2 {
                        let rows = sql.try_rows(&cancel).unwrap_or_default();
                        n_cancelled += rows.first().map_or(0, |row| row.parse().unwrap_or(0));
                    }
                }
                let _ = sql.try_rows("ROLLBACK");
                let _ = sql.try_rows("SELECT pg_sleep(0.05)");
            }
            (n_cancelled, n_locks)
        });
        wait_for_finished(&sql, N);
        done.store(true, SeqCst);
        injector.join().expect("no panic")
    });
    assert_completed_once(&sql, N);
    runtime.block_on(engine.stop());
    wait_until("no claim is left", || {
        sql.number("SELECT count(*) FROM pgtq.claims") == 0
    });
    let deadlocks =
        sql.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    eprintln!(
        "{n_cancelled} statements cancelled, {n_locks} times locked, {deadlocks} deadlocks; {N} tasks finished once"
    );
}

#[test]
fn a_slow_database_is_waited_for() {
    const N: usize = 300;
    let (_database, sql) = database();
    let dir = sql.row("SELECT current_setting('unix_socket_directories')");
    let proxy = Proxy::start(dir);
    let runtime = Runtime::new().expect("a runtime starts");
    let engine = engine(&runtime, &proxy.url(&sql.row("SELECT current_database()")));
    push(&sql, "brief", N, "{}");
    for part in [50, 150] {
        wait_until("some have ended", || n_finished(&sql) > part);
        proxy.set_black_hole(true);
        // Longer than most statements take.
        sql.rows("SELECT pg_sleep(1.5)");
        proxy.set_black_hole(false);
    }
    wait_for_finished(&sql, N);
    assert_completed_once(&sql, N);
    let crashes = sql.number("SELECT max(crashes) FROM pgtq.history");
    assert_eq!(crashes, 0, "a delay is not a crash");
    runtime.block_on(engine.stop());
}

/// A small tmpfs, unmounted on drop.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    /// Returns `None` and prints a line if this user cannot mount.
    fn mount(owner_of: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::Builder::new()
            .prefix("pgtq-small-")
            .tempdir()
            .expect("a directory");
        let owner = owner_of.metadata().expect("the directory exists");
        let options = format!("size=16m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "pgtq-small"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallFileSystem(dir));
        }
        eprintln!("SKIPPED: this user cannot mount a file system");
        None
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_claims_and_loses_no_result() {
    const N: usize = 3_000;
    let (server, sql) = private(&[]);
    let Some(small) = SmallFileSystem::mount(server.dir()) else {
        return;
    };
    let place = small.0.path().display();
    sql.rows(&format!("CREATE TABLESPACE small LOCATION '{place}'"));
    let parts = sql.rows(
        "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'pgtq.history'::regclass",
    );
    for part in &parts {
        sql.rows(&format!("ALTER TABLE {part} SET TABLESPACE small"));
    }
    // Fills the rest of the disk.
    let ballast = small.0.path().join("ballast");
    let fill = Command::new("dd")
        .args([
            "if=/dev/zero",
            "bs=64k",
            &format!("of={}", ballast.display()),
        ])
        .output();
    fill.expect("dd runs");
    let runtime = Runtime::new().expect("a runtime starts");
    let engine = engine(&runtime, &server.url());
    push(&sql, "brief", N, &format!("[\"{}\"]", "x".repeat(500)));
    let last_claim = || sql.number("SELECT last_value FROM pgtq.claim_ids");
    wait_until("tasks are claimed", || {
        sql.number("SELECT count(*) FROM pgtq.claims") > 0
    });
    let seen = std::cell::Cell::new((last_claim(), Instant::now()));
    wait_until("no further task is claimed", || {
        if last_claim() != seen.get().0 {
            seen.set((last_claim(), Instant::now()));
        }
        seen.get().1.elapsed() > Duration::from_millis(1_500)
    });
    let held = sql.number("SELECT sum(cardinality(task_ids)) FROM pgtq.claims");
    assert!(
        held < 1_200,
        "{held} tasks are claimed and cannot be stored"
    );
    let stored = n_finished(&sql);
    assert!(
        stored < N as i64,
        "the disk was full, and {stored} were stored"
    );
    std::fs::remove_file(&ballast).expect("the file exists");
    wait_for_finished(&sql, N);
    assert_completed_once(&sql, N);
    assert_eq!(sql.number("SELECT max(crashes) FROM pgtq.history"), 0);
    runtime.block_on(engine.stop());
    eprintln!("the disk was full after {stored} of {N}; all finished once");
    drop(sql);
    drop(server);
}
