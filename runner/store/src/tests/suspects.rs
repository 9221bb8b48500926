//! Tasks that may have crashed their runner: which are blamed, and when they fail.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::tests::blame::{lose, pushed, settle, witness};
use crate::verbs::beat::Beat;
use pgtq_task::{ErrorKind, Failure, TaskId, Transition};

const SUSPECT: &str = "SELECT concat_ws(' ', state, crashes, error_kind, error_message) FROM tasks WHERE priority = -1";

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
