//! Tasks held by external workers: one lease and one token each, and how each of them ends.

use tokio_postgres::Client;

use crate::testdb::*;

/// The server's error for a statement that it rejects, and the hint.
pub(super) async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let db = error.as_db_error().expect("the server's");
    let code = db.code().code();
    (
        format!("{code} {}", db.message()),
        db.hint().unwrap_or_default().to_owned(),
    )
}

/// A session with `n` waiting tasks of the handler `a`.
pub(super) async fn with_tasks(n: usize) -> (crate::connect::connection::Store, Client) {
    let store = store().await;
    let client = psql(&store).await;
    let push =
        format!("SELECT push('a', json_build_array(i)::text) FROM generate_series(1, {n}) AS i");
    client.batch_execute(&push).await.expect("push");
    (store, client)
}

/// `verb` with the id and the token of the popped task `id`.
pub(super) fn held(verb: &str, id: i64, more: &str) -> String {
    format!("SELECT {verb}(task_id, token{more}) FROM popped WHERE task_id = {id}")
}

pub(super) async fn token(client: &Client, id: i64) -> String {
    ask(
        client,
        &format!("SELECT token FROM popped WHERE task_id = {id}"),
    )
    .await
}

#[tokio::test]
async fn a_task_is_ended_only_with_its_token() {
    let (_store, client) = with_tasks(2).await;
    ask(&client, "SELECT count(*) FROM pop(n => 2)").await;
    let (first, second) = (token(&client, 1).await, token(&client, 2).await);
    assert_ne!(first, second);
    for call in [
        format!("complete(1, '{second}')"),
        format!("fail(1, '{second}', 'forged', fatal => true)"),
        format!("release(1, '{second}')"),
        format!("log(1, '{second}', 'forged')"),
        format!("progress(1, '{second}', 1)"),
        "complete(1, gen_random_uuid())".to_owned(),
        "complete(1, NULL)".to_owned(),
    ] {
        assert_eq!(ask(&client, &format!("SELECT {call}")).await, "f", "{call}");
    }
    let extend = format!("SELECT held FROM extend(1, '{second}', '30 days')");
    assert_eq!(ask(&client, &extend).await, "f");
    let running = "SELECT count(*) FROM running";
    assert_eq!(ask(&client, running).await, "2");
    let complete = format!("SELECT complete(1, '{first}')");
    assert_eq!(ask(&client, &complete).await, "t");
}

#[tokio::test]
async fn an_expired_lease_does_not_affect_the_other_tasks_of_its_worker() {
    let (_store, client) = with_tasks(3).await;
    ask(&client, "SELECT count(*) FROM pop(n => 3, worker => 'w')").await;
    let expire = "UPDATE popped SET expires_at = now() - interval '1 s' WHERE task_id = 2";
    client.batch_execute(expire).await.expect("expire");
    assert_eq!(ask(&client, "SELECT expired FROM tend()").await, "1");
    for id in [1, 3] {
        assert_eq!(ask(&client, &held("complete", id, "")).await, "t");
    }
    let attempts =
        "SELECT string_agg(id || ' ' || state || ' ' || attempts, ', ' ORDER BY id) FROM tasks";
    let expected = "1 complete 1, 2 runnable 1, 3 complete 1";
    assert_eq!(ask(&client, attempts).await, expected);
    let noted = "SELECT kind || ': ' || error_message FROM attempts";
    let expected = "expired: the lease of the worker w ran out";
    assert_eq!(ask(&client, noted).await, expected);
}

#[tokio::test]
async fn a_task_ends_once_in_transactions_of_every_level() {
    for level in ["read committed", "repeatable read", "serializable"] {
        for second_end in [
            "complete(1, TOKEN, '2')",
            "fail(1, TOKEN, 'no')",
            "release(1, TOKEN)",
        ] {
            let (store, first) = with_tasks(1).await;
            let second = psql(&store).await;
            ask(&first, "SELECT count(*) FROM pop()").await;
            let token = format!("'{}'", token(&first, 1).await);
            // The second has taken its snapshot before the first ends the task.
            let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM history");
            second.batch_execute(&begin).await.expect("begin");
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            first.batch_execute(&begin).await.expect("begin");
            let complete = format!("SELECT complete(1, {token}, '1')");
            assert_eq!(ask(&first, &complete).await, "t");
            first.batch_execute("COMMIT").await.expect("commit");
            let second_end = format!("SELECT {}", second_end.replace("TOKEN", &token));
            if level == "read committed" {
                assert_eq!(ask(&second, &second_end).await, "f");
            } else {
                let (message, _) = refused(&second, &second_end).await;
                assert!(message.starts_with("40001"), "{level}: {message}");
            }
            second.batch_execute("ROLLBACK").await.expect("rollback");
            let ends = "SELECT string_agg(state || result, ' ') FROM tasks";
            assert_eq!(ask(&first, ends).await, "complete1", "{level}");
        }
    }
}

#[tokio::test]
async fn only_pop_and_tend_need_read_committed() {
    for level in ["repeatable read", "serializable"] {
        let (_store, client) = with_tasks(4).await;
        ask(&client, "SELECT count(*) FROM pop(n => 4)").await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        for sql in ["SELECT pop()", "SELECT tend()"] {
            client.batch_execute(&begin).await.expect("begin");
            let (message, hint) = refused(&client, sql).await;
            assert!(message.starts_with("25001 cannot "), "{message}");
            assert!(hint.contains("READ COMMITTED"), "{hint}");
            client.batch_execute("ROLLBACK").await.expect("rollback");
        }
        client.batch_execute(&begin).await.expect("begin");
        for call in [
            held("complete", 1, ""),
            held("fail", 2, ", 'no', retry_in => '0'"),
            held("release", 3, ""),
            held("log", 4, ", 'line'"),
        ] {
            assert_eq!(ask(&client, &call).await, "t", "{level}: {call}");
        }
        client.batch_execute("COMMIT").await.expect("commit");
        let states = "SELECT string_agg(state, ' ' ORDER BY id) FROM tasks";
        let expected = "complete runnable runnable running";
        assert_eq!(ask(&client, states).await, expected);
    }
}

#[tokio::test]
async fn many_tasks_end_in_one_call_and_the_others_are_not_returned() {
    let (_store, client) = with_tasks(5).await;
    ask(&client, "SELECT count(*) FROM pop(n => 5)").await;
    let ends = "WITH mine AS (SELECT array_agg(task_id ORDER BY task_id) AS ids, array_agg(token ORDER BY task_id) AS tokens FROM popped)";
    let complete = format!(
        "{ends} SELECT string_agg(c::text, ' ' ORDER BY c) FROM mine,
             complete_many(ids[1:2] || 5::bigint, tokens[1:2] || gen_random_uuid(), ARRAY['1', '2', '3']::jsonb[]) AS c"
    );
    assert_eq!(ask(&client, &complete).await, "1 2");
    let fail = format!(
        "{ends} SELECT string_agg(f::text, ' ' ORDER BY f) FROM mine,
             fail_many(ids, tokens, ARRAY['x', 'y', 'z'], fatal => true, codes => '{{a,b,c}}', details => ARRAY['{{\"n\": 1}}', NULL, NULL]) AS f"
    );
    assert_eq!(ask(&client, &fail).await, "3 4 5");
    let ends = "SELECT string_agg(concat_ws(' ', id, state, result, error_code, error_message, error_details), ', ' ORDER BY id)
        FROM history";
    let expected =
        "1 complete 1, 2 complete 2, 3 failed a x {\"n\": 1}, 4 failed b y, 5 failed c z";
    assert_eq!(ask(&client, ends).await, expected);
    // The result of array_agg for a pop that found nothing.
    for none in ["complete_many(NULL, NULL)", "fail_many(NULL, NULL, NULL)"] {
        let none = format!("SELECT count(*) FROM {none}");
        assert_eq!(ask(&client, &none).await, "0");
    }
}

#[tokio::test]
async fn json_of_every_type_is_a_result_and_a_detail() {
    for form in [
        "'{\"n\": 1}'",
        "'{\"n\": 1}'::text",
        "'{\"n\": 1}'::json",
        "'{\"n\": 1}'::jsonb",
    ] {
        let (_store, client) = with_tasks(3).await;
        ask(&client, "SELECT count(*) FROM pop(n => 3)").await;
        for call in [
            held("complete", 1, &format!(", {form}")),
            held(
                "fail",
                2,
                &format!(", 'no', code => 'c', details => {form}"),
            ),
            held(
                "fail",
                3,
                &format!(", 'no', details => {form}, fatal => true"),
            ),
        ] {
            assert_eq!(ask(&client, &call).await, "t", "{call}");
        }
        for stored in [
            "result FROM complete",
            "error_details FROM attempts WHERE error_code = 'c'",
            "error_details FROM history WHERE state = 'failed'",
        ] {
            assert_eq!(
                ask(&client, &format!("SELECT {stored}")).await,
                "{\"n\": 1}",
                "{form}"
            );
        }
    }
}

#[tokio::test]
async fn a_released_task_has_used_no_attempt() {
    let (_store, client) = with_tasks(1).await;
    ask(&client, "SELECT count(*) FROM pop()").await;
    assert_eq!(ask(&client, &held("log", 1, ", 'a line'")).await, "t");
    assert_eq!(ask(&client, &held("release", 1, "")).await, "t");
    let now = "SELECT attempt FROM pop()";
    assert_eq!(ask(&client, now).await, "1");
    assert_eq!(ask(&client, &held("release", 1, ", '1 hour'")).await, "t");
    let later = "SELECT state || attempts || (due_at > now() + interval '59 minutes') FROM tasks";
    assert_eq!(ask(&client, later).await, "scheduled0true");
    // The log lines are kept.
    let log = "SELECT kind || (logs -> 0 ->> 'message') FROM attempts";
    assert_eq!(ask(&client, log).await, "releasea line");
}
