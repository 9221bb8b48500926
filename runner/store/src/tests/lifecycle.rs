//! Push, claim, finish, promote, rescue, cancel, retry: the transitions of a task.

use std::time::Duration;

use crate::beat::Beat;
use crate::connection::Store;
use crate::filter::Filter;
use crate::testdb::*;
use pgtq_task::{ErrorKind, Failure, NewTask, State, TaskId, Transition};

async fn state(store: &Store, id: TaskId) -> State {
    let detail = store.task(id).await.expect("task");
    detail.expect("the task exists").task.state
}

/// Expires the runner's lease.
async fn kill(store: &Store, runner: &TestRunner) {
    let client = psql(store).await;
    client
        .execute(
            "UPDATE runners SET expires_at = now() - interval '1 second' WHERE id = $1",
            &[&runner.id.0],
        )
        .await
        .expect("expire");
}

fn retry(delay: Duration) -> Transition {
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

#[tokio::test]
async fn cancel_works_in_every_state() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let scheduled = NewTask {
        delay: Some(Duration::from_secs(60)),
        ..new_task("a")
    };
    let id = |n: usize, pushed: &[crate::push::Pushed]| pushed[n].id;
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

#[tokio::test]
async fn a_beat_reports_lost_and_orphaned_claims() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let known = runner.claim(1).await;
    // Another handle on the same runner: the first cannot know its claims.
    let orphaned_claim = {
        let mut twin = TestRunner::new(&store, &["a"]).await;
        twin.id = runner.id;
        twin.claim(1).await
    };
    let reply = runner
        .store
        .beat(runner.id, &Beat::default())
        .await
        .expect("beat");
    assert!(reply.alive);
    assert_eq!(reply.claims.len(), 2);
    assert_eq!(reply.orphaned, [orphaned_claim[0].claim]);
    let released = runner
        .store
        .release_claim(runner.id, orphaned_claim[0].claim)
        .await;
    assert_eq!(released.expect("release"), 1);
    let client = psql(&store).await;
    client
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    let reply = runner
        .store
        .beat(runner.id, &Beat::default())
        .await
        .expect("beat");
    assert_eq!(reply.lost, [known[0].claim]);
    assert!(reply.orphaned.is_empty());
}

#[tokio::test]
async fn an_empty_claim_left_by_isolate_is_orphaned() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    let ending = runner.claim(1).await.remove(0);
    let client = psql(&store).await;
    let rename = |from: &str, to: &str| format!("ALTER FUNCTION {from}(bigint[]) RENAME TO {to}");
    let away = rename("release_claims", "gone");
    client.batch_execute(&away).await.expect("rename");
    let isolated = runner
        .store
        .isolate(runner.id, ending.claim, ending.task.id);
    assert!(isolated.await.expect("isolate").is_some());
    let back = rename("gone", "release_claims");
    client.batch_execute(&back).await.expect("rename");
    // Otherwise it would keep history from being pruned while its runner lives.
    let said = Beat::default();
    let reply = runner.store.beat(runner.id, &said).await.expect("beat");
    assert_eq!(reply.orphaned, [ending.claim]);
    let released = runner.store.release_claim(runner.id, ending.claim).await;
    assert_eq!(released.expect("release"), 0);
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM running").await, "1");
}
