//! The results of cancel, retry and delete, for every state of a task and for a missing task.

use tokio_postgres::Client;

use crate::testdb::*;
use crate::tests::push_api::refused;

/// The results of a call, by id.
async fn answers(sql: &Client, call: &str) -> String {
    let rows = format!(
        "SELECT string_agg(concat_ws(' ', id, coalesce(was, 'nowhere'), changed), ', ' ORDER BY id) FROM {call}"
    );
    ask(sql, &rows).await
}

/// A task in each state: 1 runnable, 2 scheduled, 3 running, 4 complete, 5 failed, 6 cancelled.
async fn one_in_each_state(sql: &Client) {
    sql.batch_execute(
        "SELECT push('waits'), push('a', delay => '1 day'), push('a'), push('a'), push('a'), push('a');
         SELECT pop('default', 3, handlers => '{a}');
         SELECT complete(task_id, token) FROM popped WHERE task_id = 4;
         SELECT fail(task_id, token, 'no', fatal => true) FROM popped WHERE task_id = 5;
         SELECT cancel(6)",
    )
    .await
    .expect("fill");
}

#[tokio::test]
async fn cancel_retry_and_delete_answer_alike_for_every_id() {
    let ids = "'{1,2,3,4,5,6,999}'";
    for (call, expected) in [
        (
            "cancel_tasks",
            "1 runnable t, 2 scheduled t, 3 running t, 4 complete f, 5 failed f, 6 cancelled f, 999 nowhere f",
        ),
        (
            "retry_tasks",
            "1 runnable f, 2 scheduled t, 3 running f, 4 complete f, 5 failed t, 6 cancelled t, 999 nowhere f",
        ),
        (
            "delete_tasks",
            "1 runnable t, 2 scheduled t, 3 running f, 4 complete t, 5 failed t, 6 cancelled t, 999 nowhere f",
        ),
    ] {
        let store = store().await;
        let sql = psql(&store).await;
        one_in_each_state(&sql).await;
        let call = format!("{call}({ids})");
        assert_eq!(answers(&sql, &call).await, expected, "{call}");
    }
}

#[tokio::test]
async fn cancel_and_retry_of_one_task_return_its_state_and_null_for_none() {
    let store = store().await;
    let sql = psql(&store).await;
    one_in_each_state(&sql).await;
    let each = "SELECT concat_ws(' ', retry(1), retry(2), retry(3), retry(4), retry(5), coalesce(retry(999), 'nowhere'))";
    assert_eq!(
        ask(&sql, each).await,
        "runnable runnable running complete runnable nowhere"
    );
    let each = "SELECT concat_ws(' ', cancel(1), cancel(3), cancel(4), cancel(6), coalesce(cancel(999), 'nowhere'))";
    assert_eq!(
        ask(&sql, each).await,
        "cancelled running complete cancelled nowhere"
    );
}

#[tokio::test]
async fn cancel_and_delete_time_out_when_an_open_transaction_popped_the_task() {
    let store = store().await;
    let (sql, worker) = (psql(&store).await, psql(&store).await);
    sql.batch_execute("SELECT push('a'), push('b'); SET lock_timeout = '50ms'")
        .await
        .expect("push");
    worker
        .batch_execute("BEGIN; SELECT pop(handlers => '{a}')")
        .await
        .expect("pop");
    for call in ["cancel_tasks('{1,2}')", "delete_tasks('{1,2}')"] {
        let (code, message, hint) = refused(&sql, &format!("SELECT {call}")).await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("55P03", "task 1 is locked by another transaction")
        );
        assert!(hint.contains("transaction has ended"), "{hint}");
    }
    // The caller's lock timeout; 5 seconds by default.
    assert_eq!(ask(&sql, "SHOW lock_timeout").await, "50ms");
    sql.batch_execute("RESET lock_timeout")
        .await
        .expect("reset");
    let waiting = tokio::spawn(async move {
        let told = answers(&sql, "cancel_tasks('{1,2}')").await;
        (told, ask(&sql, "SHOW lock_timeout").await)
    });
    let looks = psql(&store).await;
    let blocked = "SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
        WHERE NOT l.granted AND a.query LIKE '%cancel_tasks(''{1,2}'')%' AND a.datname = current_database() AND a.query LIKE 'SELECT string_agg%'";
    while ask(&looks, blocked).await != "t" {
        tokio::task::yield_now().await;
    }
    worker.batch_execute("COMMIT").await.expect("commit");
    let told = waiting.await.expect("answered");
    assert_eq!(
        told,
        ("1 running t, 2 runnable t".to_owned(), "0".to_owned())
    );
}
