//! Push, claim, finish, promote, rescue, cancel, retry: the transitions of a task.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::read::filter::Filter;
use crate::testdb::*;
use crate::verbs::beat::Beat;
use pgtq_task::{ErrorKind, Failure, NewTask, State, TaskId, Transition};

pub(super) async fn state(store: &Store, id: TaskId) -> State {
    let detail = store.task(id).await.expect("task");
    detail.expect("the task exists").task.state
}

/// Expires the runner's lease.
pub(super) async fn kill(store: &Store, runner: &TestRunner) {
    let client = psql(store).await;
    client
        .execute(
            "UPDATE runners SET expires_at = now() - interval '1 second' WHERE id = $1",
            &[&runner.id.0],
        )
        .await
        .expect("expire");
}

pub(super) fn retry(delay: Duration) -> Transition {
    Transition::Retry {
        delay,
        failure: Failure::new(ErrorKind::Error, "no\0 luck"),
    }
}

#[tokio::test]
async fn a_pushed_task_is_claimed_and_completed() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["add"]).await;
    let pushed = store
        .push(&[NewTask::new(name("add"), "[2, 3]")])
        .await
        .expect("push");
    let endings = runner.claim(10).await;
    assert_eq!(endings[0].task.args, "[2, 3]");
    assert_eq!(state(&store, pushed[0].id).await, State::Running);
    let finished = runner
        .store
        .finish(runner.id, &endings, false)
        .await
        .expect("finish");
    assert_eq!(finished, Default::default());
    let detail = store
        .task(pushed[0].id)
        .await
        .expect("task")
        .expect("there");
    assert_eq!(detail.task.state, State::Complete);
    assert_eq!(detail.task.result.as_deref(), Some("1"));
    assert_eq!(detail.task.attempts, 1);
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(
        ask(&psql(&store).await, "SELECT count(*) FROM claims").await,
        "0"
    );
}

#[tokio::test]
async fn a_failed_attempt_is_recorded_and_retried_later() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let id = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let mut endings = runner.claim(1).await;
    endings[0].transition = retry(Duration::from_secs(3600));
    runner
        .store
        .finish(runner.id, &endings, false)
        .await
        .expect("finish");
    assert_eq!(state(&store, id).await, State::Scheduled);
    assert_eq!(store.promote(100).await.expect("promote").count, 0);
    let moved = store.retry(&[id]).await.expect("retry");
    assert_eq!(
        (moved[0].was, moved[0].changed),
        (Some(State::Scheduled), true)
    );
    let endings = runner.claim(1).await;
    assert_eq!(endings[0].task.attempts, 1);
    let detail = store.task(id).await.expect("task").expect("there");
    assert_eq!(detail.attempts[0].kind, "error");
    assert_eq!(
        detail.attempts[0].error_message.as_deref(),
        Some("no\u{fffd} luck")
    );
}

#[tokio::test]
async fn due_tasks_are_promoted_and_the_next_due_time_is_returned() {
    let store = store().await;
    let soon = NewTask {
        delay: Some(Duration::from_millis(30)),
        ..new_task("a")
    };
    let later = NewTask {
        delay: Some(Duration::from_secs(600)),
        ..new_task("a")
    };
    store.push(&[soon, later]).await.expect("push");
    let started = std::time::Instant::now();
    let promoted = loop {
        let promoted = store.promote(10).await.expect("promote");
        if promoted.count > 0 {
            break promoted;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    let next = promoted.next_due.expect("a next due time");
    assert!(next > Duration::from_secs(500) && next <= Duration::from_secs(600));
}

#[tokio::test]
async fn children_and_rejected_results_affect_only_their_own_task() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let pushed = store
        .push(&[new_task("a"), new_task("a"), new_task("a")])
        .await
        .expect("push");
    let mut endings = runner.claim(3).await;
    endings[0].record.children = vec![new_task("child")];
    endings[1].transition = Transition::Complete {
        result: "not json".into(),
    };
    endings[2].record.children = vec![NewTask::new(name("child"), "{")];
    let finished = runner
        .store
        .finish(runner.id, &endings, false)
        .await
        .expect("finish");
    assert_eq!(finished.refused.len(), 2);
    let mut states = Vec::new();
    for pushed in &pushed {
        states.push(state(&store, pushed.id).await);
    }
    assert_eq!(states, [State::Complete, State::Failed, State::Failed]);
    let children = store
        .tasks(&Filter {
            handler: Some("chi*".into()),
            ..Filter::default()
        })
        .await
        .expect("tasks");
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].parent, Some(pushed[0].id));
    assert_eq!(
        ask(&psql(&store).await, "SELECT count(*) FROM claims").await,
        "0"
    );
}

#[tokio::test]
async fn a_stale_outcome_changes_nothing_and_is_reported() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let id = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let mut endings = runner.claim(1).await;
    kill(&store, &runner).await;
    let rescued = store.rescue().await.expect("rescue");
    assert_eq!((rescued.tasks, rescued.runners.len()), (1, 1));
    for transition in [endings[0].transition.clone(), retry(Duration::ZERO)] {
        endings[0].transition = transition;
        let finished = runner
            .store
            .finish(runner.id, &endings, false)
            .await
            .expect("finish");
        assert_eq!(finished.stale, [(endings[0].claim, id)]);
    }
    assert_eq!(state(&store, id).await, State::Runnable);
    let reply = runner
        .store
        .beat(runner.id, &Beat::default())
        .await
        .expect("beat");
    assert!(!reply.alive);
}

#[tokio::test]
async fn a_claim_continues_without_its_isolated_task() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let mut endings = runner.claim(2).await;
    let alone = runner
        .store
        .isolate(runner.id, endings[0].claim, endings[0].task.id)
        .await
        .expect("isolate")
        .expect("the claim is ours");
    endings[0].claim = alone;
    let finished = runner
        .store
        .finish(runner.id, &endings, false)
        .await
        .expect("finish");
    assert!(finished.stale.is_empty());
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, "2");
}

#[tokio::test]
async fn a_retiring_runner_releases_everything_without_using_attempts() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let endings = runner.claim(2).await;
    runner
        .store
        .finish(runner.id, &endings[..1], false)
        .await
        .expect("finish");
    assert_eq!(runner.store.retire(runner.id).await.expect("retire"), 1);
    let mut other = TestRunner::new(&store, &["a"]).await;
    let back = other.claim(2).await;
    assert_eq!(
        (back.len(), back[0].task.attempts, back[0].task.crashes),
        (1, 0, 0)
    );
}
