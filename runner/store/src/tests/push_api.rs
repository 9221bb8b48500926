//! push_task, find and push_many, from SQL.

use std::time::Duration;

use tokio_postgres::Client;

use crate::testdb::*;

/// The columns of one row, separated by a bar.
pub(super) async fn row(client: &Client, sql: &str) -> String {
    ask(
        client,
        &format!("SELECT concat_ws('|', VARIADIC ARRAY(SELECT coalesce(v.value, 'null') FROM json_each_text(to_json(t)) AS v)) FROM ({sql}) AS t"),
    )
    .await
}

pub(super) async fn refused(client: &Client, sql: &str) -> (String, String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let db = error.as_db_error().expect("of the server");
    let hint = db.hint().unwrap_or_default().to_owned();
    (db.code().code().to_owned(), db.message().to_owned(), hint)
}

#[tokio::test]
async fn push_task_returns_the_outcome_of_each_push() {
    let store = store().await;
    let sql = psql(&store).await;
    let push = |rest: &str| format!("SELECT * FROM push_task('a'{rest})");
    assert_eq!(row(&sql, &push("")).await, "1|new");
    assert_eq!(row(&sql, &push(", key => 'k'")).await, "2|new");
    assert_eq!(
        row(&sql, &push(", '[1]'::json, key => 'k'")).await,
        "2|existing"
    );
    let error = refused(
        &sql,
        &push(", '[1]'::jsonb, key => 'k', on_conflict => 'error'"),
    )
    .await;
    assert_eq!(
        (error.0.as_str(), error.1.as_str()),
        ("23505", "task 2 has the key 'k'")
    );
    assert!(error.2.contains("find('k', 'default')"), "{error:?}");

    // In its lane, a replaced task keeps its position; in another lane it gets a new one.
    let replace = push(", '{\"n\": 2}', key => 'k', on_conflict => 'replace', retries => 3");
    assert_eq!(row(&sql, &replace).await, "2|replaced");
    let task =
        "SELECT id, handler, priority, position, retries, args FROM runnable_tasks WHERE key = 'k'";
    assert_eq!(row(&sql, task).await, "2|a|0|2|3|{\"n\": 2}");
    let replace =
        "SELECT * FROM push_task('b', priority => 5, key => 'k', on_conflict => 'replace')";
    assert_eq!(row(&sql, replace).await, "2|replaced");
    let moved = row(&sql, task).await;
    assert!(
        moved.starts_with("2|b|5|") && !moved.contains("|2|null|"),
        "{moved}"
    );
    assert_eq!(row(&sql, "SELECT * FROM find('k')").await, "2|runnable");
    let later =
        "SELECT * FROM push_task('b', key => 'k', on_conflict => 'replace', delay => '1 hour')";
    assert_eq!(row(&sql, later).await, "2|replaced");
    assert_eq!(row(&sql, "SELECT * FROM find('k')").await, "2|scheduled");

    sql.batch_execute("SELECT retry(2); SELECT pop(handlers => '{b}')")
        .await
        .expect("pop");
    assert_eq!(row(&sql, replace).await, "2|running");
    sql.batch_execute("SELECT complete(task_id, token) FROM popped")
        .await
        .expect("complete");
    assert_eq!(row(&sql, replace).await, "2|existing");

    for (rest, text) in [
        (", on_conflict => 'replace'", "need a key"),
        (
            ", key => 'k', on_conflict => 'bounce'",
            "invalid on_conflict: 'bounce'",
        ),
        (", key => 'k', key_ttl => '-1 s'", "invalid key_ttl:"),
        (", key => ''", "the key has 0 bytes"),
        (", delay => '1000000 years', key => 'k'", "century"),
    ] {
        let error = refused(&sql, &push(rest)).await;
        assert!(
            error.0 == "22023" && error.1.contains(text) && !error.2.is_empty(),
            "{error:?}"
        );
    }
    // An argument that is not implemented yet is rejected.
    assert_eq!(refused(&sql, &push(", group_key => 'g'")).await.0, "42883");
}

#[tokio::test]
async fn a_key_conflict_is_resolved_when_its_first_pusher_ends() {
    for (end, outcome) in [("COMMIT", "1|existing"), ("ROLLBACK", "2|new")] {
        let store = store().await;
        let (first, second) = (psql(&store).await, psql(&store).await);
        first
            .batch_execute("BEGIN; SELECT push_task('a', key => 'k')")
            .await
            .expect("push");
        let waiting =
            tokio::spawn(
                async move { row(&second, "SELECT * FROM push_task('a', key => 'k')").await },
            );
        first.batch_execute(end).await.expect(end);
        assert_eq!(waiting.await.expect("no panic"), outcome);
    }
}

#[tokio::test]
async fn a_key_is_free_after_its_time_but_not_while_its_task_waits_or_runs() {
    let store = store().await;
    let sql = psql(&store).await;
    let over = "UPDATE keys SET expires_at = now() - interval '1 s'";
    let pushes = [
        "SELECT id FROM push_task('a', key => 'k', key_ttl => '1 hour')",
        "SELECT push('a', key => 'k')",
        "SELECT push_many('[{\"handler\": \"a\", \"key\": \"k\"}]')",
    ];
    let mut id = ask(&sql, pushes[0]).await;
    let ttl = "SELECT expires_at BETWEEN now() + interval '59 min' AND now() + interval '1 hour' FROM keys";
    assert_eq!(ask(&sql, ttl).await, "t");
    for push in pushes.into_iter().cycle().take(6) {
        sql.batch_execute(over).await.expect("over");
        assert_eq!(ask(&sql, push).await, id, "it waits: {push}");
        sql.batch_execute("SELECT pop()").await.expect("pop");
        assert_eq!(ask(&sql, push).await, id, "it runs: {push}");
        sql.batch_execute("SELECT complete(task_id, token) FROM popped")
            .await
            .expect("complete");
        let next = ask(&sql, push).await;
        assert_ne!(next, id, "{push}");
        assert_eq!(
            ask(&sql, "SELECT count(*) FROM keys WHERE expires_at > now()").await,
            "1"
        );
        // Until it expires, the key still names the task that has ended.
        assert_eq!(ask(&sql, push).await, next);
        id = next;
    }
    // Of one batch only the first takes the key.
    sql.batch_execute("SELECT pop(); SELECT complete(task_id, token) FROM popped")
        .await
        .expect("end");
    sql.batch_execute(over).await.expect("over");
    let both = "SELECT count(DISTINCT p) FROM push_many('[{\"handler\": \"a\", \"key\": \"k\"}, {\"handler\": \"a\", \"key\": \"k\"}]') AS p";
    assert_eq!(ask(&sql, both).await, "1");
    assert_eq!(ask(&sql, "SELECT count(*) FROM runnable").await, "1");
}

#[tokio::test]
async fn a_key_lives_as_long_as_the_history() {
    let store = store().await;
    let sql = psql(&store).await;
    sql.batch_execute("SELECT prune('30 days'); SELECT push('a', key => 'now'); SELECT push('a', key => 'later', delay => '2 days')")
        .await
        .expect("push");
    let days = "SELECT string_agg(extract(day FROM expires_at - first_at)::text, ',' ORDER BY key DESC) FROM keys";
    assert_eq!(ask(&sql, days).await, "30,32");
}

#[tokio::test]
async fn a_retried_task_regains_its_key_unless_another_task_has_it() {
    let store = store().await;
    let sql = psql(&store).await;
    let retention = crate::verbs::maintain::Retention {
        history: Duration::from_secs(86_400),
        failed: Duration::from_secs(30 * 86_400),
    };
    let over =
        "UPDATE keys SET expires_at = now() - interval '1 h', first_at = now() - interval '2 h'";
    let push = "SELECT push('a', key => 'k')";
    assert_eq!(ask(&sql, push).await, "1");
    assert_eq!(ask(&sql, "SELECT cancel(1)").await, "cancelled");
    sql.batch_execute(over).await.expect("over");
    store.prune(retention).await.expect("prune");
    assert_eq!(ask(&sql, "SELECT count(*) FROM keys").await, "0");
    assert_eq!(ask(&sql, "SELECT retry(1)").await, "runnable");
    assert_eq!(ask(&sql, push).await, "1", "the key was put back");
    assert_eq!(row(&sql, "SELECT * FROM find('k')").await, "1|runnable");

    // The expiry of a key that it still has is extended, at most by its original lifetime.
    ask(&sql, "SELECT cancel(1)").await;
    sql.batch_execute(over).await.expect("over");
    assert_eq!(ask(&sql, "SELECT retry(1)").await, "runnable");
    let left = "SELECT expires_at - now() BETWEEN '59 min' AND '1 h' FROM keys";
    assert_eq!(ask(&sql, left).await, "t");

    // Another task has taken the key: the older one runs without.
    ask(&sql, "SELECT cancel(1)").await;
    sql.batch_execute(over).await.expect("over");
    let other = ask(&sql, push).await;
    assert_ne!(other, "1");
    assert_eq!(ask(&sql, "SELECT retry(1)").await, "runnable");
    assert_eq!(ask(&sql, push).await, other);

    // Of several in one call, the newest has the key.
    let cancel = format!("SELECT cancel(1), cancel({other}); DELETE FROM keys");
    sql.batch_execute(&cancel).await.expect("cancel");
    let retry = format!("SELECT count(*) FROM retry_tasks('{{1,{other}}}')");
    assert_eq!(ask(&sql, &retry).await, "2");
    assert_eq!(ask(&sql, push).await, other);
}

#[tokio::test]
async fn a_retried_child_regains_its_key_in_the_scope_of_its_plugin() {
    let store = store().await;
    let sql = psql(&store).await;
    let child = pgtq_task::NewTask {
        key: Some("k".to_owned()),
        key_scope: Some(std::sync::Arc::from("billing")),
        ..new_task("a")
    };
    let id = store
        .push(std::slice::from_ref(&child))
        .await
        .expect("push")[0]
        .id;
    store.cancel(&[id]).await.expect("cancel");
    sql.batch_execute("DELETE FROM keys").await.expect("delete");
    store.retry(&[id]).await.expect("retry");
    assert_eq!(ask(&sql, "SELECT scope FROM keys").await, "billing");
    let again = store.push(&[child]).await.expect("push")[0];
    assert_eq!((again.id, again.existed), (id, true));
}

#[tokio::test]
async fn find_knows_a_task_in_every_state() {
    let store = store().await;
    let sql = psql(&store).await;
    let state = async || row(&sql, "SELECT * FROM find('k', 'q')").await;
    assert_eq!(state().await, "nothing");
    sql.batch_execute("SELECT push('a', queue => 'q', key => 'k', delay => '1 hour')")
        .await
        .expect("push");
    assert_eq!(state().await, "1|scheduled");
    sql.batch_execute("SELECT retry(1)").await.expect("retry");
    assert_eq!(state().await, "1|runnable");
    sql.batch_execute("SELECT pop('q')").await.expect("pop");
    assert_eq!(state().await, "1|running");
    sql.batch_execute("SELECT fail(task_id, token, 'no', fatal => true) FROM popped")
        .await
        .expect("fail");
    assert_eq!(state().await, "1|failed");
    sql.batch_execute("SELECT retry(1); SELECT cancel(1)")
        .await
        .expect("cancel");
    assert_eq!(state().await, "1|cancelled");
    sql.batch_execute(
        "SELECT retry(1); SELECT pop('q'); SELECT complete(task_id, token) FROM popped",
    )
    .await
    .expect("complete");
    assert_eq!(state().await, "1|complete");
    sql.batch_execute("SELECT delete_tasks('{1}')")
        .await
        .expect("delete");
    assert_eq!(state().await, "nothing");
}

/// README's look-up. The claims, of which there are as many as tasks running, are searched only
/// for a task that neither waits nor has ended.
#[tokio::test]
async fn find_reads_by_index_probes_only() {
    let store = store().await;
    let sql = psql(&store).await;
    let body = async |function: &str| {
        let source = format!(
            "SELECT prosrc FROM pg_proc WHERE proname = '{function}' AND pronamespace = current_schema()::regnamespace"
        );
        ask(&sql, &source).await
    };
    let mut plans = String::new();
    for (function, parameters) in [
        ("find", &["key", "queue"][..]),
        (
            "state_of",
            &["task", "queue", "handler", "priority", "since"],
        ),
    ] {
        let mut text = body(function).await;
        for (n, name) in parameters.iter().enumerate() {
            text = text.replace(&format!("{function}.{name}"), &format!("${}", n + 1));
        }
        let types = if function == "find" {
            "text, text"
        } else {
            "bigint, text, text, int, timestamptz"
        };
        let nulls = vec!["NULL"; parameters.len()].join(", ");
        sql.batch_execute(&format!(
            "DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
             PREPARE one ({types}) AS {text}"
        ))
        .await
        .expect("prepare");
        let lines = sql
            .simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE one ({nulls})"))
            .await
            .expect("explain");
        for line in lines {
            if let tokio_postgres::SimpleQueryMessage::Row(line) = line {
                let line = line.get(0).unwrap_or_default();
                assert!(
                    !line.contains("Seq Scan") || line.contains("claims"),
                    "{line}"
                );
                // Partitions are named by day.
                if !line.contains("_20") {
                    plans.push_str(line);
                    plans.push('\n');
                }
            }
        }
    }
    let version = ask(
        &sql,
        "SELECT current_setting('server_version_num')::int / 10000",
    )
    .await;
    if version == "15" {
        let text = plans.replace(store.config().schema.as_str(), "pgtq");
        golden("find_plan.txt", text.trim_end());
    }
}

#[tokio::test]
async fn push_many_takes_jsonb() {
    let store = store().await;
    let sql = psql(&store).await;
    let pushed = "SELECT count(*) FROM (
        SELECT push_many('[{\"handler\": \"a\", \"args\": {\"x\": 1}}]'::jsonb)
        UNION ALL SELECT push_many('a', ARRAY['[1]', '{}']::jsonb[], queue => 'q')) AS p";
    assert_eq!(ask(&sql, pushed).await, "3");
    let args = "SELECT string_agg(args::text, ' ' ORDER BY id) FROM runnable";
    assert_eq!(ask(&sql, args).await, "{\"x\": 1} [1] {}");
}
