//! Tasks that are cancelled or deleted, wherever they are.

use std::time::Duration;

use crate::testdb::*;
use crate::tests::lifecycle::{kill, retry, state};
use pgtq_task::{NewTask, State, TaskId};

#[tokio::test]
async fn cancel_works_in_every_state() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let scheduled = NewTask {
        delay: Some(Duration::from_secs(60)),
        ..new_task("a")
    };
    let id = |n: usize, pushed: &[crate::verbs::push::Pushed]| pushed[n].id;
    let pushed = store
        .push(&[new_task("a"), new_task("a"), scheduled, new_task("other")])
        .await
        .expect("push");
    let mut endings = runner.claim(2).await;
    runner
        .store
        .finish(runner.id, &endings[..1], false)
        .await
        .expect("finish");
    let ids: Vec<TaskId> = pushed
        .iter()
        .map(|p| p.id)
        .chain([TaskId(999_999)])
        .collect();
    let moved = store.cancel(&ids).await.expect("cancel");
    let found: Vec<_> = moved.iter().map(|m| (m.was, m.changed)).collect();
    assert_eq!(
        found,
        [
            (Some(State::Complete), false),
            (Some(State::Running), true),
            (Some(State::Scheduled), true),
            (Some(State::Runnable), true),
            (None, false),
        ]
    );
    let running = (endings[1].claim, id(1, &pushed));
    assert_eq!(
        runner.store.cancelled(runner.id).await.expect("cancelled"),
        [running]
    );
    // The runner was not notified in time: the retry is rejected.
    endings[1].transition = retry(Duration::ZERO);
    runner
        .store
        .finish(runner.id, &endings[1..], false)
        .await
        .expect("finish");
    for n in 1..4 {
        assert_eq!(state(&store, id(n, &pushed)).await, State::Cancelled);
    }
    assert!(
        runner
            .store
            .cancelled(runner.id)
            .await
            .expect("cancelled")
            .is_empty()
    );
    let back = store.retry(&ids).await.expect("retry");
    let changed: Vec<bool> = back.iter().map(|m| m.changed).collect();
    assert_eq!(changed, [false, true, true, true, false]);
    assert_eq!(state(&store, id(1, &pushed)).await, State::Runnable);
    let gone = store.delete(&ids).await.expect("delete");
    assert_eq!(gone.iter().filter(|m| m.changed).count(), 4);
    assert!(store.task(id(0, &pushed)).await.expect("task").is_none());
}

#[tokio::test]
async fn a_deleted_task_of_a_live_claim_does_not_return() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let pushed = store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let endings = runner.claim(2).await;
    runner
        .store
        .finish(runner.id, &endings[..1], false)
        .await
        .expect("finish");
    store.delete(&[pushed[0].id]).await.expect("delete");
    kill(&store, &runner).await;
    assert_eq!(store.rescue().await.expect("rescue").tasks, 1);
    assert!(store.task(pushed[0].id).await.expect("task").is_none());
}
