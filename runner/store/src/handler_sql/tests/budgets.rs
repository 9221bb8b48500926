//! Statements end at their time, their rows and their bytes.

use std::time::Duration;

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;

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
