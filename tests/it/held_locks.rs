//! Locks held by an application in an open transaction: only tasks that need these locks
//! wait.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgtq_task::{Attempt, AttemptRecord, HandlerFuture, Name, NewTask, Outcome, Report, SqlGrant};
use pgtq_tests::{Sql, wait_until};
use tokio::runtime::Runtime;

use crate::native::{Engine, busy, failed, insert, n_rows, registry, role};
use crate::tasks::{database, push};

/// The number of complete tasks of a handler.
fn n_complete(sql: &Sql, handler: &str) -> i64 {
    sql.number(&format!(
        "SELECT count(*) FROM pgtq.history WHERE state = 'complete' AND handler = '{handler}'"
    ))
}

fn report(children: Vec<NewTask>) -> Report {
    Report {
        outcome: Outcome::Complete {
            result: "true".to_owned(),
        },
        record: AttemptRecord {
            children,
            ..AttemptRecord::default()
        },
    }
}

fn brief(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async { report(Vec::new()) })
}

/// Runs until it is stopped.
fn long(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        while attempt.signal.asked().is_none() {
            busy(Duration::from_millis(20)).await;
        }
        let reason = "asked to".to_owned();
        Report::without_guest(Outcome::Cancel { reason })
    })
}

/// Set by the test to end `gated` tasks.
static GATE: AtomicBool = AtomicBool::new(false);

fn gated(_: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async {
        while !GATE.load(SeqCst) {
            busy(Duration::from_millis(20)).await;
        }
        report(Vec::new())
    })
}

/// Pushes a child with the key in its arguments.
fn parent(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        let [key]: [String; 1] = serde_json::from_str(&attempt.task.args).expect("a key");
        let child = NewTask {
            key: Some(key),
            ..NewTask::new(Name::new("brief").expect("a name"), "{}")
        };
        report(vec![child])
    })
}

/// Inserts a row for its task, and pushes a child with the key `order-1`.
fn books(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if let Err(problem) = insert(&attempt, &grant, "booked").await {
            return failed(problem);
        }
        let child = NewTask {
            key: Some("order-1".to_owned()),
            ..NewTask::new(Name::new("brief").expect("a name"), "{}")
        };
        report(vec![child])
    })
}

fn engine(runtime: &Runtime, url: &str) -> Engine {
    let handlers: [(&str, crate::native::HandlerFn); 4] = [
        ("brief", brief),
        ("gated", gated),
        ("long", long),
        ("parent", parent),
    ];
    runtime.block_on(Engine::start(url, registry("unused", &handlers)))
}

#[test]
fn an_open_transaction_with_a_key_delays_only_pushes_with_that_key() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let other = Sql::connect(database.url());
    other.rows("BEGIN");
    other.rows("SELECT pgtq.push('no_handler', key => 'order-1')");
    let engine = engine(&runtime, database.url());
    push(&sql, "parent", 200, r#"["order-1"]"#);
    push(&sql, "parent", 1, r#"["order-2"]"#);
    wait_until("the children without the locked key are pushed", || {
        n_complete(&sql, "parent") == 1
    });
    let began = Instant::now();
    for n in 1..=10 {
        push(&sql, "brief", 50, "{}");
        push(&sql, "parent", 1, &format!(r#"["order-3-{n}"]"#));
        wait_until("tasks without the locked key complete", || {
            n_complete(&sql, "brief") >= n * 51 && n_complete(&sql, "parent") == n + 1
        });
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "took {took:?}");
    assert_eq!(sql.number("SELECT count(*) FROM pgtq.running"), 200);
    other.rows("COMMIT");
    wait_until("the parents complete", || n_complete(&sql, "parent") == 211);
    // The application's task already has the key.
    assert_eq!(n_complete(&sql, "brief"), 511);
    let ended = "SELECT count(*), count(DISTINCT id) FROM pgtq.history";
    assert_eq!(sql.row(ended), "722|722");
    runtime.block_on(engine.stop());
}

#[test]
fn an_open_cancel_transaction_delays_no_task_of_another_claim() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    push(&sql, "long", 1, "{}");
    push(&sql, "gated", 3, "{}");
    let engine = engine(&runtime, database.url());
    wait_until("they run under one claim", || {
        sql.row("SELECT count(*), count(DISTINCT claim_id) FROM pgtq.running") == "4|1"
    });
    let other = Sql::connect(database.url());
    other.rows("BEGIN");
    other.rows("SELECT count(pgtq.cancel(id)) FROM pgtq.running WHERE handler = 'long'");
    GATE.store(true, SeqCst);
    let began = Instant::now();
    for n in 1..=10 {
        push(&sql, "brief", 50, "{}");
        wait_until("other tasks complete", || {
            n_complete(&sql, "brief") == n * 50
        });
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "took {took:?}");
    other.rows("COMMIT");
    let cancelled = "SELECT count(*) FROM pgtq.history WHERE state = 'cancelled'";
    wait_until("the task is cancelled and its neighbours complete", || {
        sql.number(cancelled) == 1 && n_complete(&sql, "gated") == 3
    });
    runtime.block_on(engine.stop());
}

#[test]
fn a_stopping_runner_does_not_wait_for_a_lock_and_the_task_runs_again() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let other = Sql::connect(database.url());
    other.rows("BEGIN");
    other.rows("SELECT pgtq.push('no_handler', key => 'order-1')");
    let first = engine(&runtime, database.url());
    push(&sql, "parent", 3, r#"["order-1"]"#);
    push(&sql, "parent", 1, r#"["order-2"]"#);
    wait_until("the others are stored", || n_complete(&sql, "parent") == 1);
    let began = Instant::now();
    runtime.block_on(first.stop());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "took {took:?}");
    let waiting =
        "SELECT count(*), max(attempts), max(crashes) FROM pgtq.runnable WHERE handler = 'parent'";
    assert_eq!(sql.row(waiting), "3|0|0");
    other.rows("COMMIT");
    let second = engine(&runtime, database.url());
    wait_until("they complete", || n_complete(&sql, "parent") == 4);
    runtime.block_on(second.stop());
}

#[test]
fn a_commit_blocked_by_a_lock_is_retried_without_using_an_attempt() {
    let (database, sql) = database();
    let runtime = Runtime::new().expect("a runtime starts");
    let other = Sql::connect(database.url());
    other.rows("BEGIN");
    other.rows("SELECT pgtq.push('no_handler', key => 'order-1')");
    let registry = registry(&role(&sql), &[("books", books), ("brief", brief)]);
    let engine = runtime.block_on(Engine::start(database.url(), registry));
    push(&sql, "books", 1, "{}");
    wait_until("it waits for its next try", || {
        sql.row("SELECT count(*), max(attempts) FROM pgtq.scheduled") == "1|0"
    });
    assert_eq!(n_rows(&sql), "0|0");
    other.rows("COMMIT");
    wait_until("it completes", || n_complete(&sql, "books") == 1);
    assert_eq!(n_rows(&sql), "1|1");
    assert_eq!(sql.row("SELECT max(attempts) FROM pgtq.history"), "1");
    runtime.block_on(engine.stop());
}
