//! Which crashes are counted, and which are not: a lost runner may still be alive.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::beat::Beat;
use crate::verbs::runner::RunnerFacts;
use pgtq_task::{ErrorKind, Failure, TaskId, Transition};

/// A runner that has been registered for an hour, on a server that has run for longer.
pub(super) async fn witness(store: &Store) {
    let client = psql(store).await;
    client
        .batch_execute(
            "CREATE OR REPLACE FUNCTION server_is_settled() RETURNS boolean LANGUAGE sql AS 'SELECT true';
             INSERT INTO runners (id, name, host, pid, version, slots, queues, expires_at, steady_since)
             VALUES (-1, 'witness', 'here', 1, '0', 4, '{}', now() + interval '1 hour', now() - interval '1 hour')",
        )
        .await
        .expect("a witness");
    settle(store).await;
}

/// Makes reports a minute older, and the witness beats again.
pub(super) async fn settle(store: &Store) {
    let client = psql(store).await;
    client
        .batch_execute(
            "UPDATE crash_reports SET reported_at = reported_at - interval '1 minute';
             UPDATE attempts SET ended_at = ended_at - interval '1 minute';
             UPDATE history SET finished_at = finished_at - interval '1 minute';
             UPDATE runners SET seen_at = now() WHERE id = -1",
        )
        .await
        .expect("older");
}

/// Expires the runner's lease, and `set` changes what else is known of it.
pub(super) async fn lose(store: &Store, runner: &TestRunner, set: &str) {
    let client = psql(store).await;
    let text = format!(
        "UPDATE runners SET expires_at = now() - interval '1 second'{set} WHERE id = {}",
        runner.id.0
    );
    client.batch_execute(&text).await.expect("lost");
    store.rescue().await.expect("rescue");
}

/// `id:crashes` of the waiting tasks, and the kinds of the attempts.
pub(super) async fn seen(store: &Store) -> (String, String) {
    let client = psql(store).await;
    let waiting = "SELECT string_agg(id || ':' || crashes, ' ' ORDER BY id) FROM tasks WHERE finished_at IS NULL";
    let kinds = "SELECT string_agg(kind, ' ' ORDER BY task_id, claim_id) FROM attempts";
    (ask(&client, waiting).await, ask(&client, kinds).await)
}

pub(super) async fn pushed(store: &Store, n: usize) -> Vec<TaskId> {
    let tasks: Vec<_> = (0..n).map(|_| new_task("a")).collect();
    let pushed = store.push(&tasks).await.expect("push");
    pushed.iter().map(|one| one.id).collect()
}

#[tokio::test]
async fn a_lost_runner_costs_a_crash_only_when_others_have_waited_for_it() {
    let store = store().await;
    pushed(&store, 2).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.claim(2).await;
    lose(&store, &runner, "").await;
    assert_eq!(seen(&store).await, ("1:0 2:0".into(), "lost lost".into()));
    // Runnable at once: only the counting waits.
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "2");
    witness(&store).await;
    // When the proof comes, one is claimed, and one ended in an orderly way.
    let mut other = TestRunner::new(&store, &["a"]).await;
    let mut endings = other.claim(2).await;
    endings[0].transition = Transition::Retry {
        delay: Duration::from_secs(60),
        failure: Failure::new(ErrorKind::Error, "no"),
    };
    let finished = other.store.finish(other.id, &endings[..1], false).await;
    finished.expect("finish");
    store.rescue().await.expect("rescue");
    let ended = endings[0].task.id.0;
    let (waiting, _) = seen(&store).await;
    let wanted = if ended == 1 { "1:0 2:1" } else { "1:1 2:0" };
    assert_eq!(waiting, wanted);
    let kinds = "SELECT string_agg(kind, ' ' ORDER BY kind) FROM attempts";
    assert_eq!(ask(&client, kinds).await, "crash error lost");
}

#[tokio::test]
async fn no_crash_is_proven_without_a_continuous_witness() {
    let store = store().await;
    pushed(&store, 1).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.claim(1).await;
    lose(&store, &runner, "").await;
    witness(&store).await;
    let client = psql(&store).await;
    let doubts = [
        // The server has just been started.
        (
            "CREATE OR REPLACE FUNCTION server_is_settled() RETURNS boolean LANGUAGE sql AS 'SELECT false'",
            "CREATE OR REPLACE FUNCTION server_is_settled() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        ),
        // It could not reach the server for a while, or the clock was changed.
        (
            "UPDATE runners SET steady_since = now() - interval '5 seconds' WHERE id = -1",
            "UPDATE runners SET steady_since = now() - interval '1 hour' WHERE id = -1",
        ),
        (
            "UPDATE runners SET seen_at = now() - interval '10 seconds' WHERE id = -1",
            "UPDATE runners SET seen_at = now() WHERE id = -1",
        ),
        (
            "UPDATE runners SET expires_at = now() - interval '1 second' WHERE id = -1; UPDATE claims SET runner_id = -1",
            "INSERT INTO runners (id, name, host, pid, version, slots, queues, expires_at, steady_since)
             VALUES (-1, 'witness', 'here', 1, '0', 4, '{}', now() + interval '1 hour', now() - interval '1 hour')",
        ),
    ];
    for (doubt, back) in doubts {
        client.batch_execute(doubt).await.expect(doubt);
        store.rescue().await.expect("rescue");
        assert_eq!(seen(&store).await, ("1:0".into(), "lost".into()), "{doubt}");
        client.batch_execute(back).await.expect(back);
    }
    store.rescue().await.expect("rescue");
    assert_eq!(seen(&store).await, ("1:1".into(), "crash".into()));
}

#[tokio::test]
async fn a_crash_is_counted_at_once_when_the_connection_has_ended() {
    let store = store().await;
    witness(&store).await;
    pushed(&store, 1).await;
    let client = psql(&store).await;
    let pid = ask(&client, "SELECT pg_backend_pid()").await;
    for (backend, crashes) in [(pid.as_str(), "1:0"), ("1", "1:1"), ("NULL", "1:1")] {
        let mut runner = TestRunner::new(&store, &["a"]).await;
        runner.claim(1).await;
        lose(&store, &runner, &format!(", backend = {backend}")).await;
        assert_eq!(seen(&store).await.0, crashes, "{backend}");
    }
}

#[tokio::test]
async fn a_returning_runner_withdraws_its_counted_crashes() {
    let store = store().await;
    witness(&store).await;
    pushed(&store, 3).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.claim(3).await;
    lose(&store, &runner, ", backend = 1").await;
    assert_eq!(
        seen(&store).await,
        ("1:1 2:1 3:1".into(), "crash crash crash".into())
    );
    // One is running, one is scheduled, one is runnable.
    let client = psql(&store).await;
    let mut other = TestRunner::new(&store, &["a"]).await;
    other.claim(1).await;
    client
        .batch_execute(
            "WITH gone AS (DELETE FROM runnable_tasks WHERE id = (SELECT max(id) FROM runnable_tasks) RETURNING *)
             INSERT INTO scheduled_tasks (id, queue, handler, priority, crashes, run_at, args)
             SELECT id, queue, handler, priority, crashes, now() + interval '1 hour', args FROM gone",
        )
        .await
        .expect("scheduled");
    let facts = RunnerFacts {
        name: "test".into(),
        host: "here".into(),
        pid: 1,
        version: "0".into(),
        slots: 4,
        queues: vec!["*".into()],
    };
    let again = store.register_again(&facts, runner.id).await;
    again.expect("registered");
    assert_eq!(
        seen(&store).await,
        ("1:0 2:0 3:0".into(), "lost lost lost".into())
    );
    assert_eq!(
        ask(&client, "SELECT count(*) FROM crash_reports").await,
        "0"
    );
}

#[tokio::test]
async fn a_heartbeat_withdraws_reports_of_its_runner() {
    let store = store().await;
    pushed(&store, 2).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.claim(2).await;
    // The rescue has skipped a claim that an outcome holds: the row stays.
    let client = psql(&store).await;
    runner.store.push(&[new_task("a")]).await.expect("push");
    let endings = runner.claim(1).await;
    let lock = format!(
        "BEGIN; SELECT FROM claims WHERE id = {} FOR UPDATE",
        endings[0].claim.0
    );
    client.batch_execute(&lock).await.expect("locked");
    lose(&store, &runner, "").await;
    client.batch_execute("COMMIT").await.expect("free");
    assert_eq!(
        ask(&client, "SELECT count(*) FROM crash_reports").await,
        "2"
    );
    let reply = runner.store.beat(runner.id, &Beat::default()).await;
    assert!(reply.expect("beat").alive);
    assert_eq!(
        ask(&client, "SELECT count(*) FROM crash_reports").await,
        "0"
    );
}

#[tokio::test]
async fn a_draining_runner_releases_its_tasks_without_a_crash() {
    let store = store().await;
    witness(&store).await;
    pushed(&store, 1).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.claim(1).await;
    let beat = Beat {
        draining: true,
        ..Beat::default()
    };
    runner.store.beat(runner.id, &beat).await.expect("beat");
    lose(&store, &runner, ", backend = 1").await;
    assert_eq!(seen(&store).await, ("1:0".into(), "release".into()));
    let client = psql(&store).await;
    assert_eq!(
        ask(&client, "SELECT count(*) FROM crash_reports").await,
        "0"
    );
}
