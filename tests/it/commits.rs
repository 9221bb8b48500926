//! Interrupted commits, and whether they use an attempt.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pgtq_task::{Attempt, GuestError, HandlerFuture, Limits, Outcome, Report, SqlGrant, TaskId};
use pgtq_tests::{Database, Fault, Proxy, Rule, wait_until_async};
use tokio::sync::Semaphore;

use crate::exactly_once::blocking;
use crate::native::{Engine, failed, insert, leaf, registry};

/// The number of connections refused in an outage: two or three seconds, so that every
/// part of a runner notices.
const OUTAGE: usize = 15;

/// The number of attempts of [`short_lived`] with a short idle timeout.
static STARTED: AtomicUsize = AtomicUsize::new(0);
/// Lets one of them return.
static RETURN: Semaphore = Semaphore::const_new(0);

/// Makes the server close its connection, and returns a result.
fn short_lived(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        if let Err(problem) = insert(&attempt, &grant, "short").await {
            return failed(problem);
        }
        let limits = Limits::default();
        let soon = "SELECT set_config('idle_in_transaction_session_timeout', '1', false)";
        if let Err(problem) = attempt.database.sql(&grant, &limits, soon, "[]").await {
            return failed(problem);
        }
        STARTED.fetch_add(1, SeqCst);
        RETURN.acquire().await.expect("never closed").forget();
        Report::without_guest(Outcome::Complete {
            result: "true".to_owned(),
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_terminating_its_own_connection_uses_attempts() {
    let database = Database::migrated();
    let (sql, role, _) = blocking(database.url()).await;
    let engine = Engine::start(
        database.url(),
        registry(&role, &[("short_lived", short_lived)]),
    )
    .await;
    sql.row("SELECT pgtq.push('short_lived', retries => 1)")
        .await;
    let alive = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
    for n in 1..=2 {
        wait_until_async("the server has ended the connection", || async {
            STARTED.load(SeqCst) == n && sql.row(&alive).await == "0"
        })
        .await;
        RETURN.add_permits(1);
    }
    let ended = "SELECT state, error_kind, attempts FROM pgtq.history";
    wait_until_async("it has failed", || async {
        sql.row(ended).await == "failed|sql|2"
    })
    .await;
    let message = sql.row("SELECT error_message FROM pgtq.failed").await;
    assert!(message.contains("lost before its commit"), "{message}");
    assert_eq!(sql.row("SELECT count(*) FROM app.rows").await, "0");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_before_the_commit_uses_no_attempt() {
    let database = Database::migrated();
    let (sql, role, dir) = blocking(database.url()).await;
    let proxy = Proxy::start(dir);
    // The statement before a commit, which checks the deferred constraints.
    let before = "SET CONSTRAINTS ALL IMMEDIATE";
    proxy.rule(Rule::on(before).of(&role).faults(&[Fault::Hold]));
    let name = sql.row("SELECT current_database()").await;
    let engine = Engine::start(&proxy.url(&name), registry(&role, &[("leaf", leaf)])).await;
    sql.row("SELECT pgtq.push('leaf', retries => 0)").await;
    wait_until_async("it is about to commit", || async {
        proxy.n_hits(before, Fault::Hold) == 1
    })
    .await;
    proxy.go_down(OUTAGE);
    wait_until_async("it has ended", || async {
        sql.row("SELECT state, attempts FROM pgtq.history").await == "complete|1"
    })
    .await;
    engine.stop().await;
    let released = "SELECT count(*), min(kind) FROM pgtq.attempts";
    assert_eq!(sql.row(released).await, "1|release");
    assert_eq!(sql.row("SELECT count(*) FROM app.rows").await, "1");
}

/// Times out at a checkpoint; the next attempt does the rest.
fn in_two_parts(attempt: Attempt, grant: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        let limits = Limits::default();
        let parts = async {
            if attempt.database.load("").await?.is_some() {
                return insert(&attempt, &grant, "second").await;
            }
            insert(&attempt, &grant, "first").await?;
            let checkpoint = attempt.database.checkpoint(&limits, "1");
            match tokio::time::timeout(Duration::from_millis(300), checkpoint).await {
                Ok(_) => Err(GuestError::new(
                    "unavailable",
                    "the checkpoint did not wait",
                )),
                Err(_) => Err(GuestError::new("timeout", "timed out, as in the sandbox")),
            }
        };
        match parts.await {
            Ok(()) => Report::without_guest(Outcome::Complete {
                result: "true".to_owned(),
            }),
            Err(problem) => failed(problem),
        }
    })
}

/// Runs until it is cancelled, so that its claim remains.
fn wait(attempt: Attempt, _: SqlGrant) -> HandlerFuture {
    Box::pin(async move {
        attempt.signal.stopped().await;
        Report::without_guest(Outcome::Release)
    })
}

/// The claim contains another task, so only the query for the outcome waits for the commit.
#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_an_interrupted_checkpoint_is_known_before_the_task_continues() {
    let database = Database::migrated();
    let (sql, role, dir) = blocking(database.url()).await;
    let proxy = Proxy::start(dir);
    proxy.rule(Rule::exactly("COMMIT").of(&role).faults(&[Fault::Hold]));
    let name = sql.row("SELECT current_database()").await;
    let pushed =
        "SELECT pgtq.push_many('[{\"handler\": \"in_two_parts\"}, {\"handler\": \"wait\"}]')";
    sql.row(pushed).await;
    let registry = registry(&role, &[("in_two_parts", in_two_parts), ("wait", wait)]);
    let engine = Engine::start(&proxy.url(&name), registry).await;
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()";
    wait_until_async("the runner queries the outcome of the commit", || async {
        sql.row(waits).await == "1"
    })
    .await;
    assert_eq!(proxy.n_hits("COMMIT", Fault::Hold), 1);
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.claims").await, "1");
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.attempts").await, "0");
    proxy.release();
    wait_until_async("it has ended", || async {
        sql.row("SELECT state, attempts FROM pgtq.history").await == "complete|2"
    })
    .await;
    let rows = "SELECT string_agg(note, ' ' ORDER BY note) FROM app.rows";
    assert_eq!(sql.row(rows).await, "first second");
    let waiting = sql.row("SELECT id FROM pgtq.running").await;
    let id = TaskId(waiting.parse().expect("the other task runs"));
    let store = database.store().await;
    store.cancel(&[id]).await.expect("cancel");
    engine.stop().await;
}
