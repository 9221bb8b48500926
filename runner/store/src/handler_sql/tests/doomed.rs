//! Attempts whose SQL cannot be committed.

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::{Commit, CommitStatus};
use crate::testdb::new_task;
use pgtq_task::ErrorKind;

#[tokio::test]
async fn a_failed_statement_dooms_the_attempt_for_every_return_value() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let problem = fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect_err("a duplicate");
    assert_eq!(problem.code, "sql:23505");
    assert!(problem.message.contains("already exists"), "{problem:?}");
    let later = fixture.run("SELECT 1").await.expect_err("doomed");
    assert_eq!(later.code, "sql:25P02");
    assert!(later.message.contains("duplicate key"), "{later:?}");
    match fixture.database.complete(&fixture.ending).await {
        Commit::Refused(failure) => {
            assert_eq!(
                (failure.kind, failure.code.as_str()),
                (ErrorKind::Sql, "sql:23505")
            );
            assert!(failure.message.contains("duplicate key"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM history").await, "0");
}

#[tokio::test]
async fn a_statement_rejected_before_it_runs_dooms_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    assert_eq!(fixture.error_code("COMMIT").await, "invalid");
    assert_eq!(fixture.error_code("SELECT $1::int").await, "invalid");
    assert_eq!(fixture.error_code("SELECT point '(1,2)'").await, "invalid");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "1");
}

#[tokio::test]
async fn a_deferred_constraint_failing_at_commit_fails_the_attempt() {
    let fixture = Fixture::new().await;
    let deferred = format!(
        "ALTER TABLE {0}.rows ADD parent bigint REFERENCES {0}.rows DEFERRABLE INITIALLY DEFERRED",
        fixture.theirs
    );
    fixture.sql.batch_execute(&deferred).await.expect("alter");
    fixture
        .run("INSERT INTO rows VALUES (1, 'x', 7)")
        .await
        .expect("runs");
    match fixture.database.complete(&fixture.ending).await {
        Commit::Refused(failure) => {
            assert_eq!(failure.kind, ErrorKind::Sql);
            assert!(failure.message.contains("foreign key"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM history").await, "0");
}

/// Triggers written for the role's search path run under it, even if deferred.
#[tokio::test]
async fn a_deferred_trigger_uses_its_own_search_path() {
    let fixture = Fixture::new().await;
    let trigger = format!(
        "CREATE TABLE {0}.log (n bigint);
         ALTER TABLE {0}.log OWNER TO {1};
         CREATE FUNCTION {0}.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.n); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER note AFTER INSERT ON {0}.rows DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION {0}.note()",
        fixture.theirs, fixture.grant.role
    );
    fixture
        .sql
        .batch_execute(&trigger)
        .await
        .expect("a trigger");
    fixture
        .run("INSERT INTO rows VALUES (5)")
        .await
        .expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(
        fixture
            .ask(&format!("SELECT n FROM {}.log", fixture.theirs))
            .await,
        "5"
    );
}

#[tokio::test]
async fn a_connection_lost_before_the_commit_counts_as_an_outage() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let kill = fixture
        .connections()
        .replace("count(*)", "count(pg_terminate_backend(pid))");
    assert_eq!(fixture.ask(&kill).await, "1");
    fixture.wait(&fixture.connections(), "0").await;
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Lost), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(
        fixture.database.commit_status().await.expect("an answer"),
        CommitStatus::RolledBack
    );
}

#[tokio::test]
async fn a_rejected_child_rolls_back_the_whole_attempt() {
    let mut fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let bad = pgtq_task::NewTask {
        args: "{".into(),
        ..new_task("b")
    };
    fixture.ending.record.children = vec![child(), bad];
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Refused(_)), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM tasks").await, "1");
}
