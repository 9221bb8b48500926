//! Which tasks a claim finds.

use std::time::Duration;

use crate::testdb::*;
use crate::tests::lifecycle::state;
use pgtq_task::{NewTask, State, TaskId, Transition};

#[tokio::test]
async fn tasks_are_claimed_by_priority_and_then_in_order() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a", "b"]).await;
    let urgent = NewTask {
        priority: -5,
        ..new_task("b")
    };
    let pushed = store
        .push(&[
            new_task("a"),
            new_task("a"),
            urgent,
            new_task("nobody_has_it"),
        ])
        .await
        .expect("push");
    let ids: Vec<TaskId> = runner.claim(10).await.iter().map(|e| e.task.id).collect();
    assert_eq!(ids, [pushed[2].id, pushed[0].id, pushed[1].id]);
    assert_eq!(state(&store, pushed[3].id).await, State::Runnable);
}

#[tokio::test]
async fn cursors_find_new_and_returned_tasks() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let mut endings = runner.claim_on(10).await;
    assert_eq!(endings.len(), 2);
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim_on(10).await.len(), 1);
    endings[0].transition = Transition::Release;
    runner
        .store
        .finish(runner.id, &endings[..1], false)
        .await
        .expect("finish");
    let again = runner.claim_on(10).await;
    assert_eq!(again[0].task.id, endings[0].task.id);
    assert_eq!(again[0].task.attempts, 0);
}

#[tokio::test]
async fn a_straggler_before_the_cursor_is_found_by_the_next_refresh() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let late = psql(&store).await;
    let straggler = {
        late.batch_execute("BEGIN").await.expect("begin");
        ask(&late, "SELECT push('a')").await
    };
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim_on(10).await.len(), 1);
    late.batch_execute("COMMIT").await.expect("commit");
    let started = std::time::Instant::now();
    let found = loop {
        let endings = runner.claim_on(10).await;
        if let Some(ending) = endings.first() {
            break ending.task.id;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    assert_eq!(found.to_string(), straggler);
}

#[tokio::test]
async fn a_paused_queue_or_handler_is_not_claimed() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a", "b"]).await;
    store
        .push(&[new_task("a"), new_task("b")])
        .await
        .expect("push");
    assert!(store.pause_handler(&name("a")).await.expect("pause"));
    assert!(!store.pause_handler(&name("a")).await.expect("pause"));
    let endings = runner.claim(10).await;
    assert_eq!(endings.len(), 1);
    assert_eq!(endings[0].task.handler, name("b"));
    assert!(store.resume_handler(&name("a")).await.expect("resume"));
    assert!(store.pause_queue(&name("default")).await.expect("pause"));
    assert!(runner.claim(10).await.is_empty());
    assert!(store.resume_queue(&name("default")).await.expect("resume"));
    assert_eq!(runner.claim(10).await.len(), 1);
}
