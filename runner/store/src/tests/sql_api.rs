//! psql alone: push, pop, complete, fail, extend, cancel, retry, result.

use crate::testdb::*;

#[tokio::test]
async fn psql_alone_can_push_work_and_read_the_result() {
    let store = store().await;
    let client = psql(&store).await;
    let id = ask(&client, "SELECT push('add', '[2,3]')").await;
    assert_eq!(
        ask(&client, &format!("SELECT state FROM tasks WHERE id = {id}")).await,
        "runnable"
    );
    let token = ask(&client, "SELECT token FROM pop()").await;
    assert_eq!(ask(&client, "SELECT id FROM running").await, id);
    let complete = |result: i32| format!("SELECT complete({id}, '{token}', '{result}')");
    assert_eq!(ask(&client, &complete(5)).await, "t");
    assert_eq!(ask(&client, &complete(6)).await, "f");
    assert_eq!(ask(&client, &format!("SELECT result({id})")).await, "5");
    assert_eq!(ask(&client, "SELECT count(*) FROM popped").await, "0");
}

#[tokio::test]
async fn every_form_of_push_makes_the_same_task() {
    let store = store().await;
    let client = psql(&store).await;
    for push in [
        "SELECT push('a')",
        "SELECT push('a', '{}')",
        "SELECT push('a', '{}'::text)",
        "SELECT push('a', '{}'::json)",
        "SELECT push('a', '{}'::jsonb)",
        "SELECT push('a', queue => 'default')",
        "SELECT push_many('[{\"handler\": \"a\"}]')",
        "SELECT push_many('[{\"handler\": \"a\"}]'::text)",
        "SELECT push_many('[{\"handler\": \"a\"}]'::json)",
        "SELECT push_many('[{\"handler\": \"a\"}]'::jsonb)",
        "SELECT push_many('a', ARRAY['{}'::json])",
        "SELECT push_many('a', ARRAY['{}'::jsonb])",
        "SELECT push_many('a', ARRAY['{}'::text])",
        "SELECT push_many('a', '{\"{}\"}')",
    ] {
        let id = ask(&client, push).await;
        let task =
            format!("SELECT (queue, handler, priority, args::text) FROM runnable WHERE id = {id}");
        assert_eq!(ask(&client, &task).await, "(default,a,0,{})", "{push}");
    }
}

#[tokio::test]
async fn a_failed_pop_is_retried_until_its_retries_are_used_up() {
    let store = store().await;
    let client = psql(&store).await;
    let id = ask(&client, "SELECT push('a', retries => 1)").await;
    for state in ["runnable", "failed"] {
        let token = ask(&client, "SELECT token FROM pop()").await;
        let fail = format!("SELECT fail({id}, '{token}', 'no', retry_in => '0')");
        assert_eq!(ask(&client, &fail).await, "t");
        assert_eq!(
            ask(&client, &format!("SELECT state FROM tasks WHERE id = {id}")).await,
            state
        );
    }
    assert_eq!(ask(&client, "SELECT error_message FROM failed").await, "no");
    assert_eq!(
        ask(&client, &format!("SELECT retry({id})")).await,
        "runnable"
    );
    let token = ask(&client, "SELECT token FROM pop()").await;
    let fail = format!("SELECT fail({id}, '{token}', 'no', fatal => true)");
    assert_eq!(ask(&client, &fail).await, "t");
    assert_eq!(ask(&client, "SELECT attempts FROM failed").await, "1");
}

#[tokio::test]
async fn an_expired_pop_returns_with_an_attempt_counted() {
    let store = store().await;
    let client = psql(&store).await;
    let id = ask(&client, "SELECT push('a', retries => 1)").await;
    let token = ask(&client, "SELECT token FROM pop(lease => '1 hour')").await;
    let extend = format!("SELECT held FROM extend({id}, '{token}', '1 microsecond')");
    assert_eq!(ask(&client, &extend).await, "t");
    let tend = "SELECT expired FROM tend()";
    assert_eq!(ask(&client, tend).await, "1");
    let again = "SELECT attempt FROM pop(lease => '1 microsecond')";
    assert_eq!(ask(&client, again).await, "2");
    let complete = format!("SELECT complete({id}, '{token}')");
    assert_eq!(ask(&client, &complete).await, "f");
    assert_eq!(ask(&client, &extend).await, "f");
    assert_eq!(ask(&client, tend).await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM pop()").await, "0");
    let kind = "SELECT error_kind FROM failed";
    assert_eq!(ask(&client, kind).await, "timeout");
}

#[tokio::test]
async fn pop_takes_urgent_tasks_first_and_leaves_other_handlers() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute("SELECT push('a'), push('b', priority => -1), push('c'), push('a', delay => '1 day'), push('a', queue => 'q')")
        .await
        .expect("push");
    let popped = ask(
        &client,
        "SELECT string_agg(handler, ',') FROM pop(n => 9, handlers => '{a,b}')",
    )
    .await;
    assert_eq!(popped, "b,a");
    assert_eq!(ask(&client, "SELECT cancel(1)").await, "running");
    let fail = "SELECT fail(task_id, token, 'stopped') FROM popped WHERE task_id = 1";
    assert_eq!(ask(&client, fail).await, "t");
    assert_eq!(
        ask(&client, "SELECT state FROM tasks WHERE id = 1").await,
        "cancelled"
    );
    assert_eq!(ask(&client, "SELECT cancel(4)").await, "cancelled");
    assert_eq!(ask(&client, "SELECT cancel(12345)").await, "null");
    assert_eq!(ask(&client, "SELECT demand()").await, "3");
}

#[tokio::test]
async fn pruning_drops_old_days_with_their_keys_and_makes_new_ones() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "CREATE TABLE history_2020_01_01 PARTITION OF history FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
             SELECT push('a', key => 'old'), push('a', key => 'new');
             DELETE FROM runnable_tasks;
             UPDATE keys SET expires_at = now() WHERE key = 'old';
             INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at, key)
             VALUES (1, 'complete', 0, 1, 0, 'default', 'a', '{}', now(), now(), '2020-01-01 12:00', 'old'),
                    (2, 'complete', 0, 1, 0, 'default', 'a', '{}', now(), now(), now(), 'new'),
                    (3, 'complete', 0, 1, 0, 'default', 'a', '{}', now(), now(), '2020-02-01', NULL)",
        )
        .await
        .expect("prepare");
    let today = "to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD')";
    let drop = format!("SELECT 'DROP TABLE attempts_' || {today}");
    client
        .batch_execute(&ask(&client, &drop).await)
        .await
        .expect("drop");
    let week = std::time::Duration::from_secs(7 * 86_400);
    let pruned = store.prune(week).await.expect("prune");
    assert_eq!((pruned.created, pruned.dropped, pruned.rows), (1, 1, 2));
    assert_eq!(ask(&client, "SELECT key FROM keys").await, "new");
    assert_eq!(
        ask(&client, "SELECT string_agg(id::text, ',') FROM history").await,
        "2"
    );
}

/// The statements of the first `sql` block of docs/sql.md after `heading`.
fn documented(heading: &str, schema: &str) -> String {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sql.md");
    let docs = std::fs::read_to_string(docs).expect("the docs");
    let (_, rest) = docs.split_once(heading).expect("the heading");
    let (_, rest) = rest.split_once("```sql\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    block
        .replace("SCHEMA pgtq ", &format!("SCHEMA {schema} "))
        .replace("pgtq.", &format!("{schema}."))
}

#[tokio::test]
async fn only_a_role_with_the_documented_privileges_pushes() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = store.config().schema.as_str();
    let role = format!("{schema}_app");
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role}; SET ROLE {role}"
        ))
        .await
        .expect("a role");
    assert!(client.batch_execute("SELECT push('a')").await.is_err());
    let grants = documented("A role that pushes", schema).replace("'app'", &format!("'{role}'"));
    client
        .batch_execute(&format!("RESET ROLE; {grants} SET ROLE {role}"))
        .await
        .expect("grant the documented privileges");
    client
        .batch_execute(
            "SELECT push('a', key => 'k'); SELECT push('a', '{}', delay => '1 hour');
             SELECT push_many('[{\"handler\": \"a\"}]'); SELECT push_many('a', ARRAY['{}'::json])",
        )
        .await
        .expect("pushes");
    assert!(client.batch_execute("SELECT cancel(1)").await.is_err());
}

#[tokio::test]
async fn a_role_with_the_documented_privileges_is_a_worker() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = store.config().schema.as_str();
    let role = format!("{schema}_worker");
    let grants = documented("A worker that pops", schema).replace("'app'", &format!("'{role}'"));
    let work = "SELECT count(push('a')) FROM generate_series(1, 8);
        INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
        VALUES (nextval('task_ids'), 'default', 'a', 0, now() - interval '1 second', '1')";
    client
        .batch_execute(&format!(
            "{work}; CREATE ROLE {role}; {grants} SET ROLE {role}"
        ))
        .await
        .expect("grant the documented privileges");
    for call in [
        "held FROM pop(), extend(id, token)",
        "log(id, token, 'a line') FROM pop()",
        "progress(id, token, 0.5) FROM pop()",
        "complete(id, token, '1') FROM pop()",
        "fail(id, token, 'no', retry_in => '1 hour') FROM pop()",
        "fail(id, token, 'no', retry_in => '0') FROM pop()",
        "fail(id, token, 'no', fatal => true) FROM pop()",
        "release(id, token, '1 hour') FROM pop()",
    ] {
        assert_eq!(ask(&client, &format!("SELECT {call}")).await, "t", "{call}");
    }
    // Any call of tend expires leases.
    let short = "SELECT count(*) FROM pop(lease => '1 microsecond')";
    assert_eq!(ask(&client, short).await, "1");
    let tend = "SELECT promoted || ' ' || expired FROM tend()";
    assert_eq!(ask(&client, tend).await, "1 1");
    assert_eq!(ask(&client, "SELECT count(*) FROM pop(n => 9)").await, "2");
    assert!(client.batch_execute("SELECT push('a')").await.is_err());
}
