//! What an external worker learns and leaves while it holds a task.

use crate::testdb::*;
use crate::tests::popped::{held, with_tasks};

#[tokio::test]
async fn an_open_transaction_finishing_one_task_delays_no_heartbeat_of_the_others() {
    let (store, client) = with_tasks(3).await;
    client
        .batch_execute("SELECT pop(n => 3, lease => '1 microsecond')")
        .await
        .expect("pop");
    let other = psql(&store).await;
    let open = format!("BEGIN; {}", held("complete", 1, ""));
    other.batch_execute(&open).await.expect("open");
    let extend = "SET statement_timeout = '10 s';
        SELECT string_agg(id || ':' || held, ' ' ORDER BY id)
        FROM extend_many(ARRAY(SELECT task_id FROM popped ORDER BY 1), ARRAY(SELECT token FROM popped ORDER BY task_id), '1 hour')";
    assert_eq!(ask(&client, extend).await, "1:true 2:true 3:true");
    let renewed = "SELECT string_agg(task_id::text, ' ' ORDER BY task_id) FROM popped WHERE expires_at > now() + interval '50 minutes'";
    assert_eq!(ask(&client, renewed).await, "2 3");
    // The lease of the locked one is not expired either, although it is over.
    client.batch_execute("SELECT tend()").await.expect("tend");
    assert_eq!(ask(&client, "SELECT count(*) FROM popped").await, "3");
    other.batch_execute("COMMIT").await.expect("commit");
    let state = "SELECT string_agg(id || ':' || state, ' ' ORDER BY id) FROM tasks";
    assert_eq!(ask(&client, state).await, "1:complete 2:running 3:running");
}

#[tokio::test]
async fn a_worker_learns_of_a_cancel_when_it_extends_its_lease() {
    let (_store, client) = with_tasks(3).await;
    ask(&client, "SELECT count(*) FROM pop(n => 3)").await;
    let heard =
        "SELECT string_agg(e.id || ' ' || held || ' ' || cancel_requested, ', ' ORDER BY e.id)
        FROM (SELECT array_agg(task_id) AS ids, array_agg(token) AS tokens FROM popped) AS p,
             extend_many(ids || 99::bigint, tokens || gen_random_uuid()) AS e";
    let none = "1 true false, 2 true false, 3 true false, 99 false false";
    assert_eq!(ask(&client, heard).await, none);
    for id in [1, 2, 3] {
        let cancel = format!("SELECT cancel({id})");
        assert_eq!(ask(&client, &cancel).await, "running");
    }
    assert_eq!(
        ask(&client, heard).await,
        none.replace("true false", "true true")
    );
    assert_eq!(ask(&client, &held("fail", 1, ", 'stopped'")).await, "t");
    assert_eq!(ask(&client, &held("release", 2, "")).await, "t");
    // A result is kept.
    assert_eq!(ask(&client, &held("complete", 3, "")).await, "t");
    let states = "SELECT string_agg(state, ' ' ORDER BY id) FROM tasks";
    assert_eq!(ask(&client, states).await, "cancelled cancelled complete");
    assert_eq!(
        ask(&client, "SELECT count(*) FROM cancellations").await,
        "0"
    );
}

#[tokio::test]
async fn a_cancel_requested_before_the_lease_expires_cancels_the_task() {
    let (_store, client) = with_tasks(1).await;
    ask(
        &client,
        "SELECT count(*) FROM pop(lease => '1 microsecond')",
    )
    .await;
    assert_eq!(ask(&client, "SELECT cancel(1)").await, "running");
    assert_eq!(ask(&client, "SELECT expired FROM tend()").await, "1");
    let end = "SELECT state || ': ' || error_message FROM tasks";
    assert_eq!(ask(&client, end).await, "cancelled: cancelled while it ran");
}

#[tokio::test]
async fn logs_and_progress_are_live_and_stored_with_the_attempt() {
    let (store, client) = with_tasks(1).await;
    ask(&client, "SELECT count(*) FROM pop()").await;
    let line = ", 'resizing', 'warn', '{\"width\": null}'::jsonb";
    assert_eq!(ask(&client, &held("log", 1, line)).await, "t");
    assert_eq!(
        ask(&client, &held("progress", 1, ", 0.25, 'a quarter'")).await,
        "t"
    );
    let live = "SELECT concat_ws(' ', level, message, fields, attempt, running) FROM live_logs";
    assert_eq!(
        ask(&client, live).await,
        "warn resizing {\"width\": null} 1 t"
    );
    let progress = "SELECT concat_ws(' ', p.fraction, p.message) FROM progress AS p JOIN running AS r ON r.id = p.task_id AND r.claim_id = p.claim_id";
    assert_eq!(ask(&client, progress).await, "0.25 a quarter");
    // A prune of old lines leaves those of live attempts.
    client
        .batch_execute("UPDATE log_lines SET at = '2020-01-01'")
        .await
        .expect("age");
    store
        .prune(std::time::Duration::from_secs(86_400))
        .await
        .expect("prune");
    assert_eq!(
        ask(&client, &held("fail", 1, ", 'no', retry_in => '0'")).await,
        "t"
    );
    let stored = "SELECT logs #>> '{0,message}' FROM attempts";
    assert_eq!(ask(&client, stored).await, "resizing");
    assert_eq!(ask(&client, "SELECT count(*) FROM log_lines").await, "0");
    assert_eq!(ask(&client, "SELECT count(*) FROM progress").await, "0");
    // Of 1,200 lines the first 500 and the last 500 are kept.
    ask(&client, "SELECT count(*) FROM pop()").await;
    let lines = "DO $$ BEGIN FOR i IN 1 .. 1200 LOOP PERFORM log(task_id, token, i::text) FROM popped; END LOOP; END $$";
    client.batch_execute(lines).await.expect("lines");
    assert_eq!(ask(&client, "SELECT count(*) FROM log_lines").await, "1000");
    assert_eq!(ask(&client, &held("complete", 1, "")).await, "t");
    let kept = "SELECT logs_dropped || ' ' || json_array_length(logs) || ' ' || (logs -> 499 ->> 'message') || ' '
        || (logs -> 500)::text || ' ' || (logs -> 501 ->> 'message') || ' ' || (logs -> 1000 ->> 'message') FROM history";
    assert_eq!(
        ask(&client, kept).await,
        "200 1001 500 {\"dropped\" : 200} 701 1200"
    );
}

#[tokio::test]
async fn workers_are_listed_by_name_with_their_tasks() {
    let (store, client) = with_tasks(3).await;
    let other = psql(&store).await;
    let pop = "SELECT count(*) FROM pop(queues => '{mail,default}', n => 2, worker => 'mailer')";
    assert_eq!(ask(&client, pop).await, "2");
    assert_eq!(
        ask(
            &other,
            "SELECT count(*) FROM pop('mail', worker => 'mailer')"
        )
        .await,
        "0"
    );
    let listed = store.workers().await.expect("workers");
    let listed: Vec<(&str, i64, i64)> = listed
        .iter()
        .map(|w| (w.name.as_str(), w.sessions, w.running))
        .collect();
    assert_eq!(listed, [("mailer", 2, 2)]);
    let view = "SELECT concat_ws(' ', name, sessions, queues, running) FROM workers";
    assert_eq!(ask(&client, view).await, "mailer 2 {default,mail} 2");
    // A worker that has not popped for long is not listed, unless it holds tasks.
    client
        .batch_execute(
            "UPDATE worker_sessions SET seen_at = now() - interval '11 minutes'; SELECT tend()",
        )
        .await
        .expect("tend");
    assert_eq!(ask(&client, view).await, "mailer 0 {} 2");
    client
        .batch_execute("SELECT complete(task_id, token) FROM popped")
        .await
        .expect("complete");
    assert_eq!(ask(&client, view).await, "nothing");
}

#[tokio::test]
async fn no_call_of_a_worker_looks_into_old_partitions() {
    let (_store, client) = with_tasks(3).await;
    let partitions = "DO $$ DECLARE parent text; BEGIN
        FOREACH parent IN ARRAY '{history,attempts}'::text[] LOOP FOR i IN 1 .. 30 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', parent || '_' || i, parent,
                '2020-01-01'::date + i, '2020-01-01'::date + i + 1);
        END LOOP; END LOOP; END $$";
    client.batch_execute(partitions).await.expect("partitions");
    client.batch_execute("BEGIN").await.expect("begin");
    ask(&client, "SELECT count(*) FROM pop(n => 3)").await;
    for call in [
        held("log", 1, ", 'line'"),
        held("complete", 1, ""),
        held("fail", 2, ", 'no'"),
        held("release", 3, ""),
        "SELECT expired FROM tend()".to_owned(),
    ] {
        ask(&client, &call).await;
    }
    let locked =
        "SELECT count(DISTINCT c.oid) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
        WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname ~ '^(history|attempts)_'";
    // Today's partition of each.
    assert_eq!(ask(&client, locked).await, "2");
}

#[tokio::test]
async fn data_of_a_task_stays_while_a_worker_holds_it() {
    let store = store().await;
    let client = psql(&store).await;
    let pop = "SELECT push('a', key => 'k'); SELECT pop();
        INSERT INTO task_state VALUES (1, 'step', '1', 1, now() - interval '30 days');
        UPDATE keys SET expires_at = now() - interval '1 s'";
    client.batch_execute(pop).await.expect("pop");
    let prune = "SELECT prune('1 day'); SELECT prune_state('1 day')";
    client.batch_execute(prune).await.expect("prune");
    let kept = "SELECT (SELECT count(*) FROM keys) || ' ' || (SELECT count(*) FROM task_state)";
    assert_eq!(ask(&client, kept).await, "1 1");
    assert_eq!(ask(&client, "SELECT state FROM find('k')").await, "running");
    for (call, answer) in [
        ("cancel_tasks", "running true"),
        ("delete_tasks", "running false"),
        ("retry_tasks", "running false"),
    ] {
        let one = format!("SELECT was || ' ' || changed FROM {call}(ARRAY[1::bigint])");
        assert_eq!(ask(&client, &one).await, answer, "{call}");
    }
    let heard = "SELECT e.cancel_requested FROM popped, extend(task_id, token) AS e";
    assert_eq!(ask(&client, heard).await, "t");
}
