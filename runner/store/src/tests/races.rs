//! Concurrency: pushers of one key, finish and rescue, unknown commits.

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::listen::Wake;
use crate::verbs::outcome_record::OutcomeRecord;
use pgtq_task::{NewTask, Transition};

/// By one statement, by several, and from SQL: keys of two scopes never match each other.
#[tokio::test]
async fn keys_of_two_scopes_are_two_tasks() {
    let store = store().await;
    let client = psql(&store).await;
    let keyed = |scope: Option<&str>| NewTask {
        key: Some("order-1".into()),
        key_scope: scope.map(std::sync::Arc::from),
        ..new_task("a")
    };
    let all = [None, Some("mailer"), Some("billing"), Some("mailer"), None];
    let pushed = store.push(&all.map(keyed)).await.expect("push");
    let existed: Vec<bool> = pushed.iter().map(|pushed| pushed.existed).collect();
    assert_eq!(existed, [false, false, false, true, true]);
    for (n, scope) in all.into_iter().enumerate() {
        let again = store.push(&[keyed(scope)]).await.expect("push")[0];
        assert_eq!((again.id, again.existed), (pushed[n].id, true), "{scope:?}");
    }
    let sql = ask(&client, "SELECT push('a', key => 'order-1')").await;
    assert_eq!(sql, pushed[0].id.0.to_string());
    // Deleting a task deletes its own key, and no other's.
    let delete = format!(
        "SELECT count(*) FROM delete_tasks(ARRAY[{}])",
        pushed[1].id.0
    );
    assert_eq!(ask(&client, &delete).await, "1");
    let scopes = "SELECT string_agg(scope, ',' ORDER BY scope) FROM keys";
    assert_eq!(ask(&client, scopes).await, ",billing");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_pushers_of_one_key_make_one_task() {
    let store = store().await;
    let mut pushing = tokio::task::JoinSet::new();
    for n in 0..32 {
        let config = store.config().clone();
        pushing.spawn(async move {
            let store = Store::connect(config).await.expect("connect");
            let keyed = NewTask {
                key: Some("order-1".into()),
                ..new_task("a")
            };
            if n % 2 == 0 {
                store.push(&[keyed]).await.expect("push")[0].id.0
            } else {
                let client = psql(&store).await;
                let id = ask(&client, "SELECT push('a', key => 'order-1')").await;
                id.parse().expect("an id")
            }
        });
    }
    let mut ids = pushing.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        ask(&psql(&store).await, "SELECT count(*) FROM tasks").await,
        "1"
    );
}

#[tokio::test]
async fn a_push_in_a_rolled_back_transaction_leaves_nothing() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "BEGIN; SELECT push('a', key => 'k'); SELECT push('a', delay => '1 day'); ROLLBACK",
        )
        .await
        .expect("roll back");
    let left = "SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM keys)";
    assert_eq!(ask(&client, left).await, "0");
}

/// A runner that holds two tasks and whose lease has expired.
async fn dying(store: &Store) -> (TestRunner, Vec<OutcomeRecord>) {
    let mut runner = TestRunner::new(store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    let endings = runner.claim(2).await;
    psql(store)
        .await
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    (runner, endings)
}

/// The store's own statement, held open in a transaction.
const END_ONE: &str = "BEGIN;
    SELECT FROM claims FOR KEY SHARE;
    INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, claim_id)
    SELECT id, 'complete', 0, 1, 0, queue, handler, args, now(), now(), claim_id FROM in_flight ORDER BY id LIMIT 1";

#[tokio::test]
async fn rescue_skips_tasks_of_a_finish_in_flight() {
    let store = store().await;
    let (_runner, endings) = dying(&store).await;
    let finishing = psql(&store).await;
    finishing.batch_execute(END_ONE).await.expect("end one");
    assert_eq!(store.rescue().await.expect("rescue").tasks, 0);
    finishing.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(store.rescue().await.expect("rescue").tasks, 1);
    let client = psql(&store).await;
    let twice = "SELECT count(*) - count(DISTINCT id) FROM tasks";
    assert_eq!(ask(&client, twice).await, "0");
    assert_eq!(
        ask(&client, "SELECT id FROM complete").await,
        endings[0].task.id.to_string()
    );
    assert_eq!(ask(&client, "SELECT count(*) FROM runners").await, "0");
}

#[tokio::test]
async fn a_finish_waiting_for_a_rescue_is_stale() {
    let store = store().await;
    let (runner, endings) = dying(&store).await;
    let rescuing = psql(&store).await;
    rescuing
        .batch_execute("BEGIN; SELECT rescue()")
        .await
        .expect("rescue");
    let finishing = tokio::spawn(async move {
        runner
            .store
            .finish(runner.id, &endings, false)
            .await
            .expect("finish")
    });
    let client = psql(&store).await;
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE '-- Caller: Store::finish%'";
    while ask(&client, waits).await == "0" {
        tokio::task::yield_now().await;
    }
    rescuing.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(finishing.await.expect("joined").stale.len(), 2);
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "2");
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "0");
}

#[tokio::test]
async fn finishing_again_after_an_unknown_commit_stores_each_outcome_once() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let three = [new_task("a"), new_task("a"), new_task("a")];
    store.push(&three).await.expect("push");
    let mut endings = runner.claim(3).await;
    endings[1].transition = Transition::Release;
    let first = &endings[..2];
    runner
        .store
        .finish(runner.id, first, false)
        .await
        .expect("finish");
    // The answer was lost; a third task ended meanwhile.
    let finished = runner
        .store
        .finish(runner.id, &endings, true)
        .await
        .expect("finish again");
    assert_eq!(finished, Default::default());
    let client = psql(&store).await;
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, "2");
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
    // And once more, with the claim gone: still no error, nothing stale.
    let finished = runner.store.finish(runner.id, &endings, true).await;
    assert_eq!(finished.expect("finish again"), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn rival_claimers_take_each_task_once() {
    let store = store().await;
    let tasks: Vec<NewTask> = (0..2_000).map(|_| new_task("a")).collect();
    store.push(&tasks).await.expect("push");
    let mut claiming = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut runner = TestRunner::new(&store, &["a"]).await;
        claiming.spawn(async move {
            let mut n = 0;
            loop {
                let endings = runner.claim(37).await;
                if endings.is_empty() {
                    break n;
                }
                n += endings.len();
                let finished = runner.store.finish(runner.id, &endings, false).await;
                assert!(finished.expect("finish").stale.is_empty());
            }
        });
    }
    assert_eq!(claiming.join_all().await.iter().sum::<usize>(), 2_000);
    let client = psql(&store).await;
    assert_eq!(
        ask(&client, "SELECT count(DISTINCT id) FROM complete").await,
        "2000"
    );
}

#[tokio::test]
async fn a_lost_listener_reconnects_and_reports_it() {
    let store = store().await;
    let mut listener = store.listen().await.expect("listen");
    let client = psql(&store).await;
    let channel = store.config().schema.channel();
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND query LIKE 'LISTEN \"{channel}\"%'"
    );
    assert_eq!(ask(&client, &kill).await, "1");
    assert_eq!(listener.recv().await, Wake::Reconnected);
}

#[tokio::test]
async fn claim_ids_reset_under_an_open_connection_are_not_used_twice() {
    let store = store().await;
    store.push(&vec![new_task("a"); 8]).await.expect("push");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let mut newest = 0;
    for _ in 0..3 {
        newest = runner.claim_on(1).await[0].claim.0;
    }
    // As a restore does, in one transaction.
    let client = psql(&store).await;
    let rewind = "DELETE FROM claims; SELECT setval('claim_ids', 1)";
    client.batch_execute(rewind).await.expect("rewound");
    let handlers = runner.handlers.clone();
    let claimed = runner
        .store
        .claim(runner.id, &mut runner.lanes, &handlers, 1)
        .await;
    let error = claimed.expect_err("an id that was there already");
    assert!(error.is_transient(), "{error}");
    let left = "SELECT count(*) FROM runnable_tasks";
    assert_eq!(ask(&client, left).await, "5");
    let next = runner.claim(2).await;
    assert!(next.len() == 2 && next[0].claim.0 > newest, "{next:?}");
    // The same for a task that gets its own claim.
    let newest = next[0].claim.0;
    client
        .batch_execute("SELECT setval('claim_ids', 1)")
        .await
        .expect("rewound");
    let (claim, task) = (next[0].claim, next[0].task.id);
    let alone = runner.store.isolate(runner.id, claim, task).await;
    assert_eq!(alone.expect("isolate"), None);
    assert_eq!(ask(&client, left).await, "4");
    let alone = runner.claim(1).await;
    assert!(alone[0].claim.0 > newest, "{alone:?}");
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "2");
}
