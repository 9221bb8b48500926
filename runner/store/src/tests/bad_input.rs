//! A task that cannot be pushed gets a clear error, and no data is lost.

use crate::connect::error::{StoreError, classify};
use crate::testdb::*;
use pgtq_task::NewTask;

#[tokio::test]
async fn a_prepared_statement_of_another_client_is_explained_by_a_pooler() {
    let client = psql(&store().await).await;
    let prepare = "PREPARE s0 AS SELECT 1";
    client
        .simple_query(prepare)
        .await
        .expect("the name is free");
    let taken = client
        .simple_query(prepare)
        .await
        .expect_err("the name is taken");
    let gone = client
        .simple_query("EXECUTE s1")
        .await
        .expect_err("the statement is missing");
    for error in [taken, gone] {
        let error = classify("claim tasks", "pgtq", &error);
        let StoreError::Transient { hint, .. } = &error else {
            panic!("{error:?}");
        };
        let hint = hint.expect("a hint");
        assert!(hint.contains("?pgbouncer=true"), "{hint}");
    }
}

#[tokio::test]
async fn bad_input_from_sql_gets_a_message_and_a_hint() {
    let store = store().await;
    let client = psql(&store).await;
    let mut text = String::new();
    for call in [
        "push('bad name')",
        "push('')",
        "push(NULL)",
        "push('a', queue => 'é')",
        "push('a', '{')",
        "push('a', NULL::text)",
        "push('a', '\"' || repeat('x', 1048576) || '\"')",
        "push('a', '5')",
        "push('a', ' null', key => 'k')",
        "push('a', 'true'::jsonb)",
        "push('a', '\"text\"', delay => '1 s')",
        "push('a', ' 5,')",
        "push_task('a', '5', key => 'k', on_conflict => 'replace')",
        "push('a', delay => '-1 s')",
        "push('a', delay => '1 s', run_at => now())",
        "push('a', run_at => 'infinity')",
        "push('a', run_at => '9999-12-31 23:59:59+00')",
        "push('a', delay => '290000 years')",
        "push_many('[{\"handler\": \"a\", \"run_at\": \"294276-01-01\"}]')",
        "push_many('a', ARRAY['[1]'::json], delay => '101 years')",
        "push('a', retries => -2)",
        "push('a', key => '')",
        "push_many('{}')",
        "push_many('[1, null]')",
        "push_many('[{\"handler\": \"a\", \"prio\": 1}]')",
        "push_many('[{\"handler\": \"a\"}, {\"handler\": \"b c\"}]')",
        "push_many(NULL::json)",
        "push_many('[{\"handler\": \"a\"}, {\"handler\": 5}]')",
        "push_many('[{\"handler\": \"a\"}, {}]')",
        "push_many('[{\"handler\": \"a\", \"args\": \"text\"}]')",
        "push_many('a', NULL::json[])",
        "push_many('a', ARRAY['{}', NULL]::json[])",
        "push_many('a', ARRAY['{}', '5'])",
        "push_arrays('{a,a}', '{[1],5}', '{q,q}', '{0,0}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}')",
        "pop(n => 0)",
        "pop(lease => '0')",
        "pop(lease => '31 days')",
        "pop(lease => '290000 years')",
        "pop('q', queues => '{q}')",
        "pop(queues => '{}')",
        "pop(queues => ARRAY(SELECT i::text FROM generate_series(1, 1001) AS i))",
        "pop(handlers => '{}')",
        "pop(handlers => '{a,NULL}')",
        "pop(worker => repeat('x', 129))",
        "extend(1, '00000000-0000-0000-0000-000000000000', '-1 s')",
        "extend(1, '00000000-0000-0000-0000-000000000000', '31 days')",
        "extend_many('{1}', '{}')",
        "complete(1, '00000000-0000-0000-0000-000000000000', '\"' || repeat('x', 1048576) || '\"')",
        "complete_many('{1,2}', ARRAY[gen_random_uuid()])",
        "fail(1, '00000000-0000-0000-0000-000000000000', 'x', retry_in => '-1 s')",
        "fail(1, '00000000-0000-0000-0000-000000000000', 'x', retry_in => '290000 years')",
        "fail(1, '00000000-0000-0000-0000-000000000000', 'x', code => repeat('x', 129))",
        "fail(1, '00000000-0000-0000-0000-000000000000', 'x', details => '\"' || repeat('x', 1048576) || '\"')",
        "fail_many('{1}', ARRAY[gen_random_uuid()], '{a,b}')",
        "release(1, '00000000-0000-0000-0000-000000000000', '-1 s')",
        "log(1, '00000000-0000-0000-0000-000000000000', NULL)",
        "log(1, '00000000-0000-0000-0000-000000000000', 'x', 'loud')",
        "log(1, '00000000-0000-0000-0000-000000000000', 'x', fields => '\"' || repeat('x', 8192) || '\"')",
        "progress(1, '00000000-0000-0000-0000-000000000000', 1.5)",
        "progress(1, '00000000-0000-0000-0000-000000000000', 'NaN')",
        "tend(0)",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{8000 years}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{290000 years}', '{NULL}', '{NULL}', '{k}', '{NULL}')",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{NULL}', '{infinity}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{-290000 years}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{a,b c}', '{[1],[1]}', '{q,q}', '{0,0}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}')",
        "push_rows('{a}', '{[1]}', '{\"\"}', '{0}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{NULL}', '{[1]}', '{q}', '{0}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{NULL}', '{NULL}', '{-2}', '{NULL}', '{NULL}')",
        "push_rows('{a}', ARRAY['\"' || repeat('x', 1048576) || '\"'], '{q}', '{0}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
        "push_rows('{a}', '{[1]}', '{q}', '{0}', '{NULL}', '{NULL}', '{NULL}', '{\"\"}', '{NULL}')",
        "pause()",
        "resume(queue => 'a', handler => 'b')",
        "prune('-3 days')",
        "prune(NULL)",
        "prune('7 days', failed => '-1 s')",
        "prune('7 days', 0)",
        "prune_state('-1 s')",
    ] {
        let error = client.simple_query(&format!("SELECT {call}")).await;
        let error = error.expect_err(call);
        let db = error.as_db_error().expect("the server refuses");
        let call = call.replace("\u{e9}", "e-acute");
        text.push_str(&format!(
            "{call}\n  {} {}\n  hint: {}\n",
            db.code().code(),
            db.message(),
            db.hint().or(db.detail()).unwrap_or("none"),
        ));
    }
    golden("errors.txt", text.trim_end());
    assert_eq!(ask(&client, "SELECT count(*) FROM tasks").await, "0");
}

#[tokio::test]
async fn a_century_is_the_same_for_programs_and_for_sql() {
    let store = store().await;
    let client = psql(&store).await;
    // A hundred years of 365 days. Intervals compare with 360 days per year.
    ask(&client, "SELECT push('a', delay => '36500 days')").await;
    ask(&client, "SELECT push('a', run_at => '4713-01-01 BC')").await;
    let day = std::time::Duration::from_secs(86_400);
    let waiting = |days: u32| NewTask {
        delay: Some(day * days),
        ..new_task("a")
    };
    store.push(&[waiting(36_500)]).await.expect("push");
    let late = NewTask {
        run_at: Some("2300-01-01T00:00:00Z".parse().expect("a moment")),
        ..new_task("a")
    };
    let endless = NewTask {
        delay: Some(std::time::Duration::MAX),
        ..new_task("a")
    };
    for far in [waiting(36_600), late, endless] {
        let refused = store.push(std::slice::from_ref(&far)).await;
        match &refused {
            Err(StoreError::Refused {
                hint: Some(hint), ..
            }) if hint.contains("100 years") => {}
            other => panic!("{far:?}: {other:?}"),
        }
    }
    assert_eq!(ask(&client, "SELECT count(*) FROM tasks").await, "3");
}

#[tokio::test]
async fn bad_input_from_rust_is_rejected_as_a_whole() {
    let store = store().await;
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    let key = |key: &str| NewTask {
        key: Some(key.to_owned()),
        ..new_task("a")
    };
    for bad in [
        NewTask::new(name("a"), "{"),
        NewTask::new(name("a"), "\0"),
        NewTask::new(name("a"), "5"),
        NewTask::new(name("a"), " null"),
        NewTask::new(name("a"), big),
        key(""),
        key(&"k".repeat(513)),
        NewTask {
            delay: Some(std::time::Duration::MAX),
            ..new_task("a")
        },
    ] {
        let refused = store.push(&[new_task("a"), bad]).await;
        assert!(
            matches!(refused, Err(StoreError::Refused { .. })),
            "{refused:?}"
        );
    }
    // The connection is still usable, and nothing was pushed.
    assert_eq!(store.count(&Default::default()).await.expect("count"), 0);
}
