//! Hostile handlers.

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;

#[tokio::test]
async fn statements_to_end_the_transaction_or_change_the_role_are_rejected() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    for statement in [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "SET ROLE pgtq",
        "RESET SESSION AUTHORIZATION",
        "COPY rows TO STDOUT",
        "COPY rows FROM PROGRAM 'id'",
        "DO 'BEGIN COMMIT; END'",
        "CALL p()",
        "LISTEN a",
        "SAVEPOINT a",
        "PREPARE a AS SELECT 1",
    ] {
        assert_eq!(
            fixture.error_code(statement).await,
            "invalid",
            "{statement}"
        );
    }
    assert_eq!(fixture.error_code("SELECT 1; COMMIT").await, "sql:42601");
    assert_eq!(fixture.n_rows().await, "0");
}

#[tokio::test]
async fn settings_cannot_open_the_queues_tables() {
    let mut fixture = Fixture::new().await;
    let schema = fixture.store.config().schema.to_string();
    for statement in [
        "SELECT set_config('role', 'pgtq', false)".to_owned(),
        "SELECT set_config('session_authorization', 'pgtq', false)".to_owned(),
        format!("SELECT * FROM {schema}.history"),
        format!("SELECT ticket_hash FROM {schema}.runners"),
        format!("SELECT * FROM {schema}.tasks"),
        format!("DELETE FROM {schema}.claims"),
        format!("SELECT nextval('{schema}.task_ids')"),
        format!("SELECT {schema}.push('a')"),
        format!("SELECT {schema}.cancel(1)"),
        format!("SELECT {schema}.is_held('', 1, 1)"),
        format!("SELECT query_to_xml('SELECT * FROM {schema}.claims', true, true, '')"),
        "SELECT pg_read_file('/etc/passwd')".to_owned(),
    ] {
        assert_eq!(
            fixture.error_code(&statement).await,
            "sql:42501",
            "{statement}"
        );
        fixture.again();
    }
}

#[tokio::test]
async fn the_outcome_cannot_be_forged_without_the_ticket() {
    let mut fixture = Fixture::new().await;
    let schema = fixture.store.config().schema.to_string();
    let (runner, claim, task) = (
        fixture.runner.id,
        fixture.ending.claim,
        fixture.ending.task.id,
    );
    // A runner of an older version has no hash: an absent ticket must not match it.
    fixture.sql.batch_execute("INSERT INTO runners (id, name, host, pid, version, slots, queues, expires_at) VALUES (99999, '', '', 1, '', 1, '{}', now() + '1 hour')").await.expect("insert");
    for (runner, ticket) in [
        (runner.0, "'\\x00'"),
        (runner.0, "NULL"),
        (99_999, "NULL"),
        (99_999, "''"),
    ] {
        let save =
            format!("SELECT {schema}.save_in_task({ticket}, {runner}, {claim}, {task}, 'a', '1')");
        assert_eq!(fixture.error_code(&save).await, "sql:42501", "{save}");
        fixture.again();
        let complete = format!(
            "SELECT {schema}.complete_in_task({ticket}, {runner}, {claim}, {task}, 'q', 'a', 0, '1', '1', null, 0, 1, 0, null, now(), now(),
             0, 0, 0, 0, 0, null, null, null, null, null, null, null, null, null, null, null, null, null)"
        );
        assert_eq!(
            fixture.error_code(&complete).await,
            "sql:42501",
            "{complete}"
        );
        fixture.again();
    }
    // No runner has this id: nothing to forge.
    let nobody = format!("SELECT {schema}.save_in_task(NULL, 12345, {claim}, {task}, 'a', '1')");
    assert_eq!(fixture.value(&nobody).await, "false");
    assert_eq!(fixture.ask("SELECT count(*) FROM task_state").await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM history").await, "0");
}

#[tokio::test]
async fn settings_and_temporary_objects_of_a_handler_do_not_affect_the_outcome() {
    let mut fixture = Fixture::new().await;
    // Types and tables of the temporary schema come first, unless it is named last.
    for name in [
        "text",
        "history",
        "claims",
        "runners",
        "timestamptz",
        "bytea",
    ] {
        fixture
            .run(&format!("SELECT 1 AS x INTO TEMP \"{name}\""))
            .await
            .expect("a temporary table");
    }
    for (setting, value) in [
        ("search_path", "pg_temp, pg_catalog"),
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
        ("synchronous_commit", "off"),
        ("lock_timeout", "1"),
        ("DateStyle", "SQL, DMY"),
        ("IntervalStyle", "sql_standard"),
        ("enable_indexscan", "off"),
        ("transform_null_equals", "on"),
        ("log_parameter_max_length_on_error", "-1"),
        ("client_min_messages", "debug5"),
        ("default_transaction_read_only", "on"),
        // Last: it may cancel any later statement.
        ("statement_timeout", "1"),
    ] {
        let set = format!("SELECT set_config('{setting}', '{value}', false)");
        match fixture.run(&set).await {
            Ok(_) => {}
            Err(problem) => panic!("{setting}: {problem:?}"),
        }
    }
    fixture.ending.record.children = vec![child()];
    fixture.ending.transition = pgtq_task::Transition::Complete {
        result: "\"ä€\"".into(),
    };
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.ask("SELECT result FROM history").await, "\"ä€\"");
    assert_eq!(fixture.ask("SELECT count(*) FROM runnable").await, "1");

    // The next attempt sees none of it. A slow machine may need more than a millisecond to reset
    // it: then it gets a new connection.
    let not_reset = format!(
        "{} AND NOT (state = 'idle' AND query LIKE '%DISCARD%')",
        fixture.connections()
    );
    fixture.wait(&not_reset, "0").await;
    fixture.again();
    let set = "SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('client_encoding'), current_setting('DateStyle'),
        (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), current_setting('default_transaction_read_only'))";
    assert_eq!(fixture.value(set).await, "\"5s UTF8 ISO, MDY 0 off\"");
    assert_eq!(fixture.ask(&fixture.connections()).await, "1");
}

#[tokio::test]
async fn advisory_locks_and_cursors_do_not_outlive_the_attempt() {
    let mut fixture = Fixture::new().await;
    fixture
        .run("SELECT pg_advisory_lock(7)")
        .await
        .expect("a lock");
    fixture.database.roll_back().await;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7";
    fixture.wait(locks, "0").await;
    fixture.again();
    assert_eq!(fixture.value("SELECT 1").await, "1");
}
