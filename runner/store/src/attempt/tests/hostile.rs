//! Hostile handlers.

use std::time::{Duration, Instant};

use crate::attempt::tests::fixture::*;
use crate::attempt::work::Commit;
use crate::config::DatabaseConfig;
use crate::connection::Store;
use crate::testdb::{TestRunner, new_task};
use pgtq_task::{Database as _, SqlGrant};

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

#[tokio::test]
async fn a_statement_is_cancelled_at_its_timeout() {
    let mut fixture = Fixture::new().await;
    fixture.grant.statement_timeout = Duration::from_millis(200);
    let problem = fixture
        .run("SELECT pg_sleep(600)")
        .await
        .expect_err("too long");
    assert_eq!(problem.code, "timeout");
    // Changing the server's own limit does not help.
    fixture.again();
    fixture
        .run("SELECT set_config('statement_timeout', '0', true)")
        .await
        .expect("sets");
    let problem = fixture
        .run("SELECT pg_sleep(600)")
        .await
        .expect_err("too long");
    assert_eq!(problem.code, "timeout");
    assert!(problem.message.contains("statement_timeout"), "{problem:?}");
    // The server has stopped, too.
    let sleeping = format!(
        "{} AND query LIKE '%pg_sleep%' AND state = 'active'",
        fixture.connections()
    );
    fixture.wait(&sleeping, "0").await;
}

#[tokio::test]
async fn dropping_an_attempt_cancels_its_statement() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let sleeping = fixture.run("SELECT pg_sleep(600)");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), sleeping)
            .await
            .is_err()
    );
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Refused(_)), "{commit:?}");
    fixture.wait(&fixture.connections(), "0").await;
    assert_eq!(fixture.n_rows().await, "0");
}

#[tokio::test]
async fn a_huge_row_ends_the_connection_and_not_the_runner() {
    let mut fixture = Fixture::new().await;
    fixture.limits.sql_bytes = 1 << 20;
    for statement in [
        "SELECT repeat('x', 100000000)",
        "SELECT repeat('x', 1000) FROM generate_series(1, 5000)",
        // Small on the wire, large as JSON.
        "SELECT repeat(chr(1), 300000)",
    ] {
        let problem = fixture.run(statement).await.expect_err(statement);
        assert_eq!(problem.code, "limit", "{statement}");
        assert!(problem.message.contains("sql_bytes"), "{problem:?}");
        if statement.contains("100000000") {
            // Stopped below the protocol, not after it was read.
            assert!(!problem.message.contains("as JSON"), "{problem:?}");
        }
        assert_eq!(fixture.error_code("SELECT 1").await, "sql:25P02");
        fixture.again();
    }
    fixture.wait(&fixture.connections(), "0").await;
}

#[tokio::test]
async fn a_million_rows_end_at_the_limit() {
    let mut fixture = Fixture::new().await;
    fixture.limits.sql_rows = 100;
    let all = fixture
        .run("SELECT n FROM generate_series(1, 100) AS n")
        .await
        .expect("within the limit");
    assert!(all.contains("[100]"));
    let problem = fixture
        .run("SELECT n FROM generate_series(1, 1000000) AS n")
        .await
        .expect_err("too many");
    assert_eq!(problem.code, "limit");
    assert!(problem.message.contains("sql_rows"), "{problem:?}");
}

#[tokio::test]
async fn mismatched_parameters_are_rejected() {
    let fixture = Fixture::new().await;
    for (statement, params) in [
        ("SELECT $1::int", "[]"),
        ("SELECT 1", "[1]"),
        ("SELECT $1::int", "{}"),
        ("SELECT $1::int", "[1"),
        ("SELECT $1::int[]", "[1]"),
        ("SELECT $1::text", "[\"\\u0000\"]"),
    ] {
        let problem = fixture.run_with(statement, params).await.expect_err(params);
        assert_eq!(problem.code, "invalid", "{statement} {params}");
    }
    let injected = fixture
        .run_with("SELECT $1::text", "[\"'; DROP TABLE rows; --\"]")
        .await;
    assert!(injected.expect("runs").contains("DROP TABLE"));
    assert_eq!(
        fixture
            .run_with("SELECT $1::int", "[\"x\"]")
            .await
            .expect_err("no number")
            .code,
        "sql:22P02"
    );
}

/// Statements of the owner about the role: `ROLE_NAME` and `THE_SCHEMA` are substituted.
async fn say(fixture: &Fixture, sql: &str) {
    let schema = fixture.store.config().schema.to_string();
    let sql = sql
        .replace("ROLE_NAME", &fixture.grant.role)
        .replace("THE_SCHEMA", &schema);
    fixture.sql.batch_execute(&sql).await.expect(&sql);
}

#[tokio::test]
async fn a_role_with_too_many_privileges_is_rejected_at_login() {
    for (grant, revoke, wanted) in [
        (
            "ALTER USER ROLE_NAME SUPERUSER",
            "ALTER USER ROLE_NAME NOSUPERUSER",
            "a superuser",
        ),
        (
            "ALTER USER ROLE_NAME CREATEROLE",
            "ALTER USER ROLE_NAME NOCREATEROLE",
            "create roles",
        ),
        (
            "ALTER USER ROLE_NAME BYPASSRLS",
            "ALTER USER ROLE_NAME NOBYPASSRLS",
            "row security",
        ),
        (
            "ALTER USER ROLE_NAME REPLICATION",
            "ALTER USER ROLE_NAME NOREPLICATION",
            "replicate",
        ),
        (
            "GRANT pgtq TO ROLE_NAME",
            "REVOKE pgtq FROM ROLE_NAME",
            "the owner of the queue",
        ),
        (
            "GRANT pg_read_server_files TO ROLE_NAME",
            "REVOKE pg_read_server_files FROM ROLE_NAME",
            "pg_read_server_files",
        ),
        (
            "GRANT CREATE ON SCHEMA THE_SCHEMA TO ROLE_NAME",
            "REVOKE CREATE ON SCHEMA THE_SCHEMA FROM ROLE_NAME",
            "create objects",
        ),
        (
            "GRANT SELECT ON claims TO ROLE_NAME",
            "REVOKE SELECT ON claims FROM ROLE_NAME",
            "tables of the queue",
        ),
        (
            "GRANT SELECT ON tasks TO PUBLIC",
            "REVOKE SELECT ON tasks FROM PUBLIC",
            "tables of the queue",
        ),
        (
            "GRANT SELECT (result) ON history TO ROLE_NAME",
            "REVOKE SELECT (result) ON history FROM ROLE_NAME",
            "tables of the queue",
        ),
        (
            "GRANT UPDATE ON SEQUENCE task_ids TO ROLE_NAME",
            "REVOKE UPDATE ON SEQUENCE task_ids FROM ROLE_NAME",
            "tables of the queue",
        ),
        (
            "REVOKE USAGE ON SCHEMA THE_SCHEMA FROM ROLE_NAME",
            "SELECT allow_sql('ROLE_NAME')",
            "allow_sql",
        ),
    ] {
        // A kept connection is not checked again, so each has its own database.
        let fixture = Fixture::new().await;
        say(&fixture, grant).await;
        let problem = fixture.run("SELECT 1").await.expect_err(grant);
        assert_eq!(problem.code, "denied", "{grant}: {problem:?}");
        assert!(problem.message.contains(wanted), "{grant}: {problem:?}");
        say(&fixture, revoke).await;
        fixture.run("SELECT 1").await.expect(revoke);
    }
}

#[tokio::test]
async fn the_runners_own_role_and_a_missing_one_are_rejected() {
    let mut fixture = Fixture::new().await;
    fixture.grant.role = "nobody_of_that_name".into();
    let problem = fixture.run("SELECT 1").await.expect_err("nobody");
    assert_eq!(problem.code, "unavailable");
    assert!(
        problem.message.contains("nobody_of_that_name"),
        "{problem:?}"
    );
    fixture.grant.role = fixture
        .store
        .config()
        .postgres
        .get_user()
        .expect("a user")
        .to_owned();
    let problem = fixture.run("SELECT 1").await.expect_err("the runner's own");
    assert_eq!(problem.code, "denied");
    // Nothing has run yet: the attempt may still succeed.
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Nothing), "{commit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_handlers_share_two_connections_and_all_end() {
    let fixture = Fixture::new().await;
    let tasks = vec![new_task("a"); 50];
    fixture.store.push(&tasks).await.expect("push");
    let mut runner = TestRunner::new(&fixture.store, &["a"]).await;
    let mut running = tokio::task::JoinSet::new();
    for (n, ending) in runner.claim(50).await.into_iter().enumerate() {
        let database = runner
            .store
            .attempt(runner.id, ending.claim, ending.task.id);
        let (grant, limits) = (fixture.grant.clone(), fixture.limits.clone());
        running.spawn(async move {
            let insert = format!("INSERT INTO rows SELECT {n} FROM pg_sleep(0.01)");
            database
                .sql(&grant, &limits, &insert, "[]")
                .await
                .expect("runs");
            matches!(database.complete(&ending).await, Commit::Recorded)
        });
    }
    let mut most = 0;
    while !running.is_empty() {
        let n: usize = fixture
            .ask(&fixture.connections())
            .await
            .parse()
            .expect("a count");
        most = most.max(n);
        while let Some(done) = running.try_join_next() {
            assert!(done.expect("no panic"));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.n_rows().await, "50");
    assert!(most <= 2, "{most} connections at once");
}

#[tokio::test]
async fn waiting_for_a_connection_ends_with_the_attempts_time() {
    let mut fixture = Fixture::new().await;
    fixture.grant.connections = 1;
    fixture.run("SELECT 1").await.expect("takes the only one");
    fixture.limits.timeout = Duration::from_millis(200);
    let second = fixture.runner.store.attempt(
        fixture.runner.id,
        fixture.ending.claim,
        fixture.ending.task.id,
    );
    let began = Instant::now();
    let problem = second
        .sql(&fixture.grant, &fixture.limits, "SELECT 1", "[]")
        .await
        .expect_err("no free connection");
    assert_eq!(problem.code, "timeout");
    assert!(problem.message.contains("`connections`"), "{problem:?}");
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced_transparently() {
    let mut fixture = Fixture::new().await;
    fixture.run("SELECT 1").await.expect("runs");
    fixture.database.roll_back().await;
    fixture
        .wait(
            &format!("{} AND state = 'idle'", fixture.connections()),
            "1",
        )
        .await;
    let kill = fixture
        .connections()
        .replace("count(*)", "count(pg_terminate_backend(pid))");
    fixture.ask(&kill).await;
    fixture.again();
    fixture.run("SELECT 1").await.expect("a new connection");
}

#[tokio::test]
async fn the_roles_own_password_is_used() {
    let mut fixture = Fixture::new().await;
    // The private server uses trust authentication, so the test can only check what is sent.
    fixture.grant.password = Some(pgtq_task::Secret::new("s3cret"));
    fixture.run("SELECT 1").await.expect("runs");
    assert!(!format!("{:?}", fixture.grant).contains("s3cret"));
}

#[tokio::test]
async fn sql_works_behind_a_pooler_in_transaction_mode() {
    let mut config: DatabaseConfig = crate::testdb::config();
    config.poll_only = true;
    let store = Store::connect(config).await.expect("connect");
    store.migrate().await.expect("migrate");
    let mut fixture = Fixture::on(store).await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .database
        .checkpoint(&fixture.limits, "1")
        .await
        .expect("a checkpoint");
    fixture
        .run("INSERT INTO rows VALUES (2)")
        .await
        .expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "2");
    // One connection for each transaction, and none is kept.
    fixture.wait(&fixture.connections(), "0").await;
    fixture.again();
}

/// Verifies how `SqlGrant` is compared.
#[tokio::test]
async fn grants_with_another_password_share_no_connection() {
    let fixture = Fixture::new().await;
    fixture.run("SELECT 1").await.expect("runs");
    let other = SqlGrant {
        password: Some(pgtq_task::Secret::new("other")),
        ..fixture.grant.clone()
    };
    let second = fixture.runner.store.attempt(
        fixture.runner.id,
        fixture.ending.claim,
        fixture.ending.task.id,
    );
    second
        .sql(&other, &fixture.limits, "SELECT 1", "[]")
        .await
        .expect("runs");
    assert_eq!(fixture.ask(&fixture.connections()).await, "2");
}
