//! What cannot be pushed gets a clear error, and loses nothing.

use super::super::StoreError;
use super::super::testdb::*;
use crate::task::NewTask;

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
        "push('a', delay => '-1 s')",
        "push('a', delay => '1 s', run_at => now())",
        "push('a', run_at => 'infinity')",
        "push('a', run_at => '9999-12-31 23:59:59+00')",
        "push('a', delay => '290000 years')",
        "push_many('[{\"handler\": \"a\", \"run_at\": \"294276-01-01\"}]')",
        "push_many('a', ARRAY['1'::json], delay => '101 years')",
        "push('a', retries => -2)",
        "push('a', key => '')",
        "push_many('{}')",
        "push_many('[1, null]')",
        "push_many('[{\"handler\": \"a\", \"prio\": 1}]')",
        "push_many('[{\"handler\": \"a\"}, {\"handler\": \"b c\"}]')",
        "pop(n => 0)",
        "pop(lease => '0')",
        "extend(1, '-1 s')",
        "fail(1, 1, 'x', retry_in => '-1 s')",
        "pause()",
        "resume(queue => 'a', handler => 'b')",
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
async fn times_without_reason_are_refused_on_every_other_way_in_too() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('a'), push('a')").await;
    ask(&client, "SELECT count(*) FROM pop()").await;
    let claim = "SELECT id, claim_id FROM running LIMIT 1";
    let rows = "ARRAY['a'], ARRAY['{}'], ARRAY['q'], ARRAY[0]";
    for call in [
        format!(
            "SELECT push_rows({rows}, ARRAY[interval '8000 years'], ARRAY[NULL::timestamptz], ARRAY[0], ARRAY['k'], ARRAY[0])"
        ),
        format!(
            "SELECT push_rows({rows}, ARRAY[NULL::interval], ARRAY[timestamptz 'infinity'], ARRAY[0], ARRAY['k'], ARRAY[0])"
        ),
        "SELECT pop(lease => '8000 years')".to_owned(),
        format!("SELECT extend(claim_id, '8000 years') FROM ({claim}) AS c"),
        format!("SELECT fail(id, claim_id, 'x', retry_in => '8000 years') FROM ({claim}) AS c"),
    ] {
        let error = client.simple_query(&call).await.expect_err(&call);
        let db = error.as_db_error().expect("the server refuses");
        let constraint = db.constraint().unwrap_or_default();
        assert!(constraint.ends_with("_sane"), "{call}: {error:?}");
    }
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "1");
    assert_eq!(ask(&client, "SELECT count(*) FROM running").await, "1");
    let far = NewTask {
        delay: Some(std::time::Duration::from_secs(8_000 * 366 * 86_400)),
        ..new_task("a")
    };
    let refused = store.push(&[far]).await.expect_err("too far away");
    assert!(
        matches!(&refused, StoreError::Refused { hint: Some(hint), .. } if hint.contains("100 years")),
        "{refused}"
    );
}

#[tokio::test]
async fn bad_input_from_rust_is_refused_as_a_whole() {
    let store = store().await;
    let big = format!("\"{}\"", "x".repeat(1 << 20));
    let key = |key: &str| NewTask {
        key: Some(key.to_owned()),
        ..new_task("a")
    };
    for bad in [
        NewTask::new(name("a"), "{"),
        NewTask::new(name("a"), "\0"),
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
    // The connection is still good, and nothing is there.
    assert_eq!(store.count(&Default::default()).await.expect("count"), 0);
}
