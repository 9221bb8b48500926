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
        "push('a', retries => -2)",
        "push('a', key => '')",
        "push_many('{}')",
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
