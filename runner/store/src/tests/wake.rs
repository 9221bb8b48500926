//! Wake-up flags: which pushes notify, and what that costs them.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::listen::Wake;
use pgtq_task::{NewTask, Transition};

/// The payloads of all notifications from now on.
async fn payloads(store: &Store) -> (Client, UnboundedReceiver<String>) {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let client = store
        .open_listener(move |note| {
            if let Some((_, payload)) = note {
                send.send(payload.to_owned()).ok();
            }
        })
        .await
        .expect("connect");
    let channel = store.config().schema.channel();
    client
        .batch_execute(&format!("LISTEN \"{channel}\""))
        .await
        .expect("listen");
    (client, receive)
}

/// The notifications so far, up to one last notification of the test itself.
async fn drained(
    client: &Client,
    store: &Store,
    notes: &mut UnboundedReceiver<String>,
) -> Vec<String> {
    let channel = store.config().schema.channel();
    client
        .batch_execute(&format!("NOTIFY \"{channel}\", 'last'"))
        .await
        .expect("notify");
    let mut seen = Vec::new();
    loop {
        match notes.recv().await.expect("the connection lives").as_str() {
            "last" => return seen,
            other => seen.push(other.to_owned()),
        }
    }
}

fn into_queue(queue: &str) -> NewTask {
    NewTask {
        queue: Some(name(queue)),
        ..new_task("a")
    }
}

#[tokio::test]
async fn a_push_notifies_once_for_each_request() {
    let store = store().await;
    let (client, mut notes) = payloads(&store).await;
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(drained(&client, &store, &mut notes).await, [""; 0]);
    let mut listener = store.listen().await.expect("listen");

    let queue = name("default");
    let asked = store.request_wake(Some(&queue)).await.expect("ask");
    assert!(asked.fresh);
    assert!(!store.request_wake(Some(&queue)).await.expect("ask").fresh);
    for _ in 0..10 {
        store.push(&[new_task("a")]).await.expect("push");
    }
    let flag = asked.flag.expect("a flag for one queue");
    let Wake::Work(flags) = listener.recv().await else {
        panic!("no notification for the push");
    };
    assert!(flags.concern(Some(flag)) && !flags.concern(Some(flag ^ 1)) && flags.concern(None));
    let work = format!("work {flag} default");
    assert_eq!(drained(&client, &store, &mut notes).await, [work]);
    // It receives its own echo while it waits.
    for _ in 0..100 {
        let wait = Duration::from_millis(100);
        if listener.is_healthy() {
            break;
        }
        tokio::time::timeout(wait, listener.recv()).await.ok();
    }
    assert!(listener.is_healthy());
    assert!(store.request_wake(Some(&queue)).await.expect("ask").fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_hundreds_of_concurrent_pushes_notifies() {
    let store = store().await;
    let (client, mut notes) = payloads(&store).await;
    let asked = store.request_wake(None).await.expect("ask");
    assert!(asked.fresh && asked.flag.is_none());
    let mut pushers = JoinSet::new();
    for _ in 0..16 {
        let client = psql(&store).await;
        pushers.spawn(async move {
            for _ in 0..50 {
                client
                    .batch_execute("SELECT push('a')")
                    .await
                    .expect("push");
            }
        });
    }
    pushers.join_all().await;
    let seen = drained(&client, &store, &mut notes).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// A queue with another flag than `mail`: a sixteenth of all names share a flag.
async fn other_queue(store: &Store) -> String {
    let client = psql(store).await;
    let other = "SELECT 'q' || n FROM generate_series(1, 100) AS n WHERE hashtext('q' || n) & 15 <> hashtext('mail') & 15 LIMIT 1";
    ask(&client, other).await
}

/// Tasks of queue `q` return by promote, by the end of an attempt, by the release of a claim and
/// by the end of a runner.
#[tokio::test]
async fn returned_tasks_wake_only_waiters_for_their_queue() {
    let store = store().await;
    let other = other_queue(&store).await;
    let sql = psql(&store).await;
    let (client, mut notes) = payloads(&store).await;
    for queue in [&*other, "mail"] {
        let mut runner = TestRunner::new(&store, &["a"]).await;
        let task = NewTask {
            delay: Some(Duration::from_secs(3600)),
            ..into_queue(queue)
        };
        store.push(&[task]).await.expect("push");
        sql.batch_execute("UPDATE scheduled_tasks SET run_at = now()")
            .await
            .expect("due");
        drained(&client, &store, &mut notes).await;
        let mail = store.request_wake(Some(&name("mail"))).await.expect("ask");
        let wanted = match queue {
            "mail" => vec![format!(
                "work {} mail",
                mail.flag.expect("a flag for one queue")
            )],
            _ => Vec::new(),
        };
        for way in ["promote", "finish", "release", "retire"] {
            match way {
                "promote" => drop(store.promote(10).await.expect("promote")),
                "finish" => {
                    let mut endings = runner.claim(1).await;
                    endings[0].transition = Transition::Release;
                    let finished = runner.store.finish(runner.id, &endings, false);
                    finished.await.expect("finish");
                }
                "release" => {
                    let claim = runner.claim(1).await[0].claim;
                    let release = runner.store.release_claim(runner.id, claim);
                    release.await.expect("release");
                }
                _ => {
                    runner.claim(1).await;
                    runner.store.retire(runner.id).await.expect("retire");
                }
            }
            let seen = drained(&client, &store, &mut notes).await;
            assert_eq!(seen, wanted, "{way} of a task of {queue}");
            store.request_wake(Some(&name("mail"))).await.expect("ask");
        }
        sql.batch_execute("SELECT purge(queue) FROM runnable")
            .await
            .expect("empty");
    }
}

#[tokio::test]
async fn a_request_for_one_queue_is_not_answered_by_pushes_into_others() {
    let store = store().await;
    let other = other_queue(&store).await;
    let (client, mut notes) = payloads(&store).await;
    let mail = store.request_wake(Some(&name("mail"))).await.expect("ask");
    store.push(&[into_queue(&other)]).await.expect("push");
    store
        .push(&vec![into_queue(&other); 20])
        .await
        .expect("push");
    assert_eq!(drained(&client, &store, &mut notes).await, [""; 0]);
    // A runner that serves any queue requests all flags.
    assert!(store.request_wake(None).await.expect("ask").fresh);
    store.push(&[into_queue(&other)]).await.expect("push");
    let seen = drained(&client, &store, &mut notes).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    store.request_wake(None).await.expect("ask");
    let both = [into_queue(&other), into_queue("mail")];
    store.push(&both).await.expect("push");
    let seen = drained(&client, &store, &mut notes).await;
    let mail = format!("work {} mail", mail.flag.expect("a flag for one queue"));
    assert!(seen.len() == 2 && seen.contains(&mail), "{seen:?}");
}

#[tokio::test]
async fn every_way_to_make_tasks_runnable_notifies() {
    let store = store().await;
    let sql = psql(&store).await;
    let (client, mut notes) = payloads(&store).await;
    let id = ask(&sql, "SELECT push('a', delay => '1 hour')").await;
    for statement in [
        "SELECT push('a')",
        "SELECT push('a', key => 'k')",
        "SELECT push('a', delay => '1 hour')",
        "SELECT push_many('a', ARRAY['[1]']::json[])",
        "SELECT push_many('[{\"handler\": \"a\", \"retries\": 3}]')",
        &format!("SELECT retry({id})"),
        "SELECT wake()",
        "SELECT release(id, token) FROM pop()",
        "SELECT fail(id, token, 'no', retry_in => '0') FROM pop()",
        "SELECT count(*) FROM pop(lease => '1 microsecond')",
        "WITH p AS (INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
                    VALUES (9000, 'default', 'a', 0, now(), '1') RETURNING 1) SELECT * FROM p",
    ] {
        store
            .request_wake(Some(&name("default")))
            .await
            .expect("ask");
        sql.batch_execute(statement).await.expect(statement);
        if statement.starts_with("WITH") {
            sql.batch_execute("SELECT promote()")
                .await
                .expect("promote");
        }
        if statement.contains("lease") {
            sql.batch_execute("SELECT tend()").await.expect("tend");
        }
        let seen = drained(&client, &store, &mut notes).await;
        assert_eq!(seen.len(), 1, "{statement}: {seen:?}");
    }
}

#[tokio::test]
async fn a_rolled_back_push_costs_a_waiting_runner_one_poll() {
    let store = store().await;
    let sql = psql(&store).await;
    let (client, mut notes) = payloads(&store).await;
    store.request_wake(None).await.expect("ask");
    sql.batch_execute("BEGIN; SELECT push('a'); ROLLBACK")
        .await
        .expect("roll back");
    assert_eq!(drained(&client, &store, &mut notes).await, [""; 0]);
    // The next poll requests it again, even while a push stays open.
    assert!(store.request_wake(None).await.expect("ask").fresh);
    sql.batch_execute("BEGIN; SELECT push('a')")
        .await
        .expect("push");
    assert!(store.request_wake(None).await.expect("ask").fresh);
    store.push(&[new_task("a")]).await.expect("push");
    let seen = drained(&client, &store, &mut notes).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_push_without_notify_can_be_prepared_while_a_runner_waits() {
    let store = store().await;
    let sql = psql(&store).await;
    store.request_wake(None).await.expect("ask");
    let prepared = |before: &str| {
        format!(
            "BEGIN; {before} SELECT push('a'); SELECT push('a', key => 'k'); PREPARE TRANSACTION 'x'"
        )
    };
    let error = sql
        .batch_execute(&prepared(""))
        .await
        .expect_err("it notified");
    let text = error
        .as_db_error()
        .expect("of the server")
        .message()
        .to_owned();
    assert!(text.contains("NOTIFY"), "{text}");
    sql.batch_execute("ROLLBACK").await.expect("roll back");

    assert!(store.request_wake(None).await.expect("ask").fresh);
    sql.batch_execute(&prepared("SET LOCAL pgtq.notify = off;"))
        .await
        .expect("prepared");
    // The request remains: the next push answers it.
    assert!(!store.request_wake(None).await.expect("ask").fresh);
    sql.batch_execute("COMMIT PREPARED 'x'")
        .await
        .expect("commit");
    assert_eq!(ask(&sql, "SELECT count(*) FROM runnable").await, "2");
}

/// Two hours of a busy runner's beats, requests and notifications, under a snapshot that is
/// older than all of them.
#[tokio::test]
async fn a_push_reads_no_more_under_an_old_snapshot() {
    let store = store().await;
    let runner = TestRunner::new(&store, &["a"]).await;
    let old = psql(&store).await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runners")
        .await
        .expect("a snapshot");
    let sql = psql(&store).await;
    let blocks = async || {
        sql.batch_execute("SELECT request_wake('default')")
            .await
            .expect("ask");
        let plan = "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT push('a')";
        let plan = ask(&sql, plan).await;
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        let plan = &plan[0]["Plan"];
        let read = ["Shared Hit Blocks", "Shared Read Blocks"];
        read.map(|name| plan[name].as_u64().expect(name))
            .iter()
            .sum::<u64>()
    };
    // Each of the first pushes of a session makes a plan.
    for _ in 0..10 {
        blocks().await;
    }
    let before = blocks().await;
    let beats = format!(
        "DO $$ BEGIN FOR n IN 1 .. 3000 LOOP
             UPDATE runners SET seen_at = clock_timestamp(), expires_at = now() + interval '15 s' WHERE id = {};
             PERFORM request_wake('default'), wake(), request_wake(), wake(ARRAY['default']);
         END LOOP; END $$",
        runner.id.0
    );
    sql.batch_execute(&beats).await.expect("beats");
    // Other tests change the catalogue meanwhile, after which a session reads it again.
    let mut after = blocks().await;
    for _ in 0..50 {
        after = after.min(blocks().await);
    }
    assert!(after <= before + 3, "{before} blocks, then {after}");
    tokio::time::timeout(Duration::from_secs(5), old.batch_execute("COMMIT"))
        .await
        .expect("in time")
        .expect("the snapshot still exists");
}

#[tokio::test]
async fn a_cancel_without_notify_can_be_prepared() {
    let store = store().await;
    let sql = psql(&store).await;
    store.push(&[new_task("a")]).await.expect("push");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    assert_eq!(runner.claim(1).await.len(), 1);
    let prepare =
        "BEGIN; SET LOCAL pgtq.notify = off; SELECT cancel(1); PREPARE TRANSACTION 'cancel'";
    sql.batch_execute(prepare).await.expect("prepared");
    sql.batch_execute("COMMIT PREPARED 'cancel'")
        .await
        .expect("committed");
    assert_eq!(ask(&sql, "SELECT count(*) FROM cancellations").await, "1");
}
