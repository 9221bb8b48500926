//! Which crashes are counted, and which are not: a lost runner may still be alive.

use std::time::Duration;

use crate::beat::Beat;
use crate::connection::Store;
use crate::runner::RunnerFacts;
use crate::testdb::*;
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
async fn seen(store: &Store) -> (String, String) {
    let client = psql(store).await;
    let waiting = "SELECT string_agg(id || ':' || crashes, ' ' ORDER BY id) FROM tasks WHERE finished_at IS NULL";
    let kinds = "SELECT string_agg(kind, ' ' ORDER BY task_id, claim_id) FROM attempts";
    (ask(&client, waiting).await, ask(&client, kinds).await)
}

async fn pushed(store: &Store, n: usize) -> Vec<TaskId> {
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

#[tokio::test]
async fn unstarted_tasks_are_not_blamed() {
    let store = store().await;
    witness(&store).await;
    let ids = pushed(&store, 20).await;
    // It has four slots, and reports that four run.
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let endings = runner.claim(20).await;
    let beat = Beat {
        started: Some(ids[..4].to_vec()),
        ..Beat::default()
    };
    runner.store.beat(runner.id, &beat).await.expect("beat");
    // Since then one has ended, so that the next may have started.
    let finished = runner.store.finish(runner.id, &endings[..1], false).await;
    finished.expect("finish");
    lose(&store, &runner, ", backend = 1").await;
    let client = psql(&store).await;
    let blamed = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM runnable WHERE crashes > 0";
    assert_eq!(ask(&client, blamed).await, "2 3 4 5 6");
    let told = "SELECT count(*) FROM attempts";
    assert_eq!(ask(&client, told).await, "5");
}

/// A suspect in its own claim whose runner crashed, together with `n_others`. It had two
/// crashes.
async fn suspect_dies(store: &Store, n_others: usize, retries: &str, at_once: bool) {
    let client = psql(store).await;
    client
        .batch_execute(&format!(
            "INSERT INTO runnable_tasks (queue, handler, priority, position, id, crashes, retries, args)
             VALUES ('default', 'a', -1, nextval('task_ids'), nextval('task_ids'), 2, {retries}, '{{}}')"
        ))
        .await
        .expect("a suspect");
    let mut runner = TestRunner::new(store, &["a"]).await;
    let endings = runner.claim(1).await;
    let (claim, task) = (endings[0].claim, endings[0].task.id);
    let alone = runner.store.isolate(runner.id, claim, task).await;
    alone.expect("isolate").expect("ours");
    if n_others > 0 {
        pushed(store, n_others).await;
        runner.claim(n_others as u32).await;
    }
    let backend = if at_once { ", backend = 1" } else { "" };
    lose(store, &runner, backend).await;
}

const SUSPECT: &str = "SELECT concat_ws(' ', state, crashes, error_kind, error_message) FROM tasks WHERE priority = -1";

#[tokio::test]
async fn a_suspect_running_alone_fails_at_the_limit() {
    for at_once in [true, false] {
        let store = store().await;
        witness(&store).await;
        suspect_dies(&store, 0, "NULL", at_once).await;
        let client = psql(&store).await;
        if !at_once {
            // It waits until there is proof.
            assert_eq!(ask(&client, SUSPECT).await, "scheduled 2");
            settle(&store).await;
            assert_eq!(store.rescue().await.expect("rescue").failed, 1);
        }
        assert_eq!(
            ask(&client, SUSPECT).await,
            "failed 3 crash 3 runners died while they ran it, the last one while it ran alone"
        );
    }
}

#[tokio::test]
async fn a_suspect_running_with_others_needs_one_more_crash() {
    let store = store().await;
    witness(&store).await;
    suspect_dies(&store, 1, "NULL", true).await;
    let client = psql(&store).await;
    assert_eq!(ask(&client, SUSPECT).await, "runnable 3");
    // The other one does not become a suspect.
    let other = "SELECT crashes FROM runnable WHERE priority = 0";
    assert_eq!(ask(&client, other).await, "1");
}

#[tokio::test]
async fn the_limit_of_crashes_is_a_setting_and_forever_is_forever() {
    let store = store().await;
    witness(&store).await;
    let client = psql(&store).await;
    suspect_dies(&store, 0, "-1", true).await;
    assert_eq!(ask(&client, SUSPECT).await, "scheduled 3");
    client
        .batch_execute("DELETE FROM scheduled_tasks; DELETE FROM crash_reports")
        .await
        .expect("empty");
    // The handler sets it, and the task does not.
    client
        .batch_execute(
            r#"INSERT INTO handlers (runner_id, name, info, digest, file, plugin)
               VALUES (-1, 'a', '{"retry": {"retries": "forever"}}', '', 'a.wasm', 'a')"#,
        )
        .await
        .expect("a handler");
    suspect_dies(&store, 0, "NULL", true).await;
    assert_eq!(ask(&client, SUSPECT).await, "scheduled 3");
    client
        .batch_execute("DELETE FROM scheduled_tasks; DELETE FROM crash_reports")
        .await
        .expect("empty");
    suspect_dies(&store, 0, "5", false).await;
    settle(&store).await;
    let rescued = store.rescue_with(10).await.expect("rescue");
    assert_eq!(rescued.failed, 0);
    assert_eq!(ask(&client, SUSPECT).await, "scheduled 3");
}

#[tokio::test]
async fn a_task_failed_by_crashes_returns_with_its_runner() {
    let store = store().await;
    witness(&store).await;
    suspect_dies(&store, 0, "NULL", true).await;
    let client = psql(&store).await;
    assert!(ask(&client, SUSPECT).await.starts_with("failed 3"));
    let runner = ask(&client, "SELECT runner_id FROM crash_reports").await;
    ask(&client, &format!("SELECT withdraw_crashes({runner})")).await;
    assert_eq!(ask(&client, SUSPECT).await, "runnable 0");
    let kind = "SELECT string_agg(kind, ' ' ORDER BY claim_id) FROM attempts";
    assert_eq!(ask(&client, kind).await, "isolate lost");
}

#[tokio::test]
async fn a_task_lost_three_times_waits_for_proof() {
    let store = store().await;
    pushed(&store, 1).await;
    let client = psql(&store).await;
    for place in ["runnable", "runnable", "scheduled"] {
        let mut runner = TestRunner::new(&store, &["a"]).await;
        runner.claim(1).await;
        lose(&store, &runner, "").await;
        let found = ask(&client, "SELECT state || ' ' || crashes FROM tasks").await;
        assert_eq!(found, format!("{place} 0"));
    }
    witness(&store).await;
    store.rescue().await.expect("rescue");
    let found = ask(&client, "SELECT state || ' ' || crashes FROM tasks").await;
    assert_eq!(found, "scheduled 2");
}

#[tokio::test]
async fn an_orderly_end_sets_the_crashes_to_zero_and_a_release_keeps_them() {
    let store = store().await;
    let client = psql(&store).await;
    let failure = || Failure::new(ErrorKind::Error, "no");
    let delay = Duration::from_secs(60);
    let ends = [
        (Transition::Complete { result: "1".into() }, "complete 0"),
        (Transition::Fail { failure: failure() }, "failed 0"),
        (
            Transition::Retry {
                delay,
                failure: failure(),
            },
            "scheduled 0",
        ),
        (Transition::Snooze { delay }, "scheduled 0"),
        (Transition::Release, "runnable 2"),
        (Transition::Defer { delay }, "scheduled 2"),
    ];
    for (transition, wanted) in ends {
        let id = pushed(&store, 1).await[0].0;
        client
            .batch_execute("UPDATE runnable_tasks SET crashes = 2")
            .await
            .expect("a suspect");
        let mut runner = TestRunner::new(&store, &["a"]).await;
        let mut endings = runner.claim(1).await;
        endings[0].transition = transition;
        let finished = runner.store.finish(runner.id, &endings, false).await;
        finished.expect("finish");
        let state = format!("SELECT state || ' ' || crashes FROM tasks WHERE id = {id}");
        let found = ask(&client, &state).await;
        assert_eq!(found, wanted, "{:?}", endings[0].transition);
        store.delete(&[TaskId(id)]).await.expect("delete");
    }
}
