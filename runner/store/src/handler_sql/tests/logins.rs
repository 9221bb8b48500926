//! The roles that handlers log in as.

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;
use pgtq_task::{Database as _, SqlGrant};

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

#[tokio::test]
async fn the_roles_own_password_is_used() {
    let mut fixture = Fixture::new().await;
    // The private server uses trust authentication, so the test can only check what is sent.
    fixture.grant.password = Some(pgtq_task::Secret::new("s3cret"));
    fixture.run("SELECT 1").await.expect("runs");
    assert!(!format!("{:?}", fixture.grant).contains("s3cret"));
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
