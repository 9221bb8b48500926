//! Nested row types, which the driver reads recursively.

use crate::handler_sql::tests::fixture::*;
use pgtq_task::GuestError;

/// Creates types in the role's schema, each of which contains the previous one.
async fn chain(fixture: &Fixture, n: usize, role: &str, link: &str) {
    let link = link
        .replace("THEIRS", &fixture.theirs)
        .replace("NEW", "%1$s")
        .replace("OLD", "%2$s");
    let made = format!(
        "CREATE TABLE {0}.t0 (n int); SET ROLE {role};
         DO $$ BEGIN FOR i IN 1..{n} LOOP EXECUTE format('{link}', 't' || i, 't' || i - 1); END LOOP; END $$;
         RESET ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}",
        fixture.theirs, fixture.grant.role
    );
    let owned = format!("GRANT ALL ON SCHEMA {} TO PUBLIC", fixture.theirs);
    fixture.sql.batch_execute(&owned).await.expect("a grant");
    fixture.sql.batch_execute(&made).await.expect("a chain");
}

const TABLES: &str = "CREATE TABLE THEIRS.NEW AS SELECT NULL::THEIRS.OLD AS c";
const ARRAYS: &str = "CREATE TABLE THEIRS.NEW AS SELECT NULL::THEIRS.OLD[] AS c";

/// Reads the innermost type on a stack of this size.
fn read_on(stack: usize, n: usize, role: &'static str, link: &'static str) -> GuestError {
    let asking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let fixture = Fixture::new().await;
            let role = role.replace("ROLE_NAME", &fixture.grant.role);
            chain(&fixture, n, &role, link).await;
            let statement = format!("SELECT NULL::{}.t{n}[] AS deep", fixture.theirs);
            let problem = fixture.run(&statement).await.expect_err("no type for JSON");
            drop(fixture);
            problem
        })
    };
    let thread = std::thread::Builder::new().stack_size(stack).spawn(asking);
    thread.expect("a thread").join().expect("no panic")
}

/// A guest leaves 1.5 MiB of its fiber's stack to the host. On a stack that is too small the
/// whole process aborts, so this test uses a third less.
#[test]
fn the_deepest_allowed_types_fit_on_the_stack_of_an_attempt() {
    let problem = read_on(1 << 20, 200, "ROLE_NAME", ARRAYS);
    assert_eq!(problem.code, "invalid", "{problem:?}");
    assert!(problem.message.contains("deep::text"), "{problem:?}");
}

#[test]
fn too_deeply_nested_types_are_never_read() {
    for link in [
        TABLES,
        ARRAYS,
        "CREATE TYPE THEIRS.NEW AS (c THEIRS.OLD)",
        "CREATE DOMAIN THEIRS.NEW AS THEIRS.OLD",
        "CREATE DOMAIN THEIRS.NEW AS THEIRS.OLD[]",
        "CREATE VIEW THEIRS.NEW AS SELECT NULL::THEIRS.OLD AS c",
    ] {
        let problem = read_on(1 << 20, 300, "ROLE_NAME", link);
        assert_eq!(problem.code, "denied", "{link}: {problem:?}");
        assert!(problem.message.contains("200"), "{problem:?}");
    }
}

#[tokio::test]
async fn a_handler_nesting_tables_is_stopped_at_the_limit() {
    let mut fixture = Fixture::new().await;
    let mut n = 0;
    let problem = loop {
        let old = match n {
            0 => "1".to_owned(),
            n => format!("NULL::pg_temp.t{n}"),
        };
        let statement = format!("SELECT {old} AS c INTO TEMP t{}", n + 1);
        match fixture.run(&statement).await {
            Ok(_) => n += 1,
            Err(problem) => break problem,
        }
        assert!(n < 300, "not stopped");
    };
    assert_eq!(problem.code, "denied", "{problem:?}");
    assert_eq!(n, 202);
    // They were temporary, so the next attempt may run.
    fixture.again();
    assert_eq!(fixture.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn types_of_a_member_role_count_and_a_superusers_do_not() {
    let mut fixture = Fixture::new().await;
    chain(&fixture, 300, "NONE", TABLES).await;
    let deep = format!("SELECT NULL::{}.t10 IS NULL", fixture.theirs);
    assert_eq!(fixture.value(&deep).await, "true");
    let other = format!("{}_other", fixture.grant.role);
    let given = format!(
        "CREATE ROLE {other}; GRANT {other} TO {0};
         DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('ALTER TABLE {1}.t%s OWNER TO {other}', i); END LOOP; END $$",
        fixture.grant.role, fixture.theirs
    );
    fixture.sql.batch_execute(&given).await.expect("given");
    fixture.again();
    assert_eq!(
        fixture.error_code("SELECT 1 AS c INTO TEMP x").await,
        "denied"
    );
}

#[tokio::test]
async fn a_role_with_many_ordinary_tables_is_accepted() {
    let fixture = Fixture::new().await;
    let made = format!(
        "CREATE DOMAIN {0}.mail AS text; CREATE TYPE {0}.mood AS ENUM ('good');
         SET ROLE {1};
         DO $$ BEGIN FOR i IN 1..500 LOOP
             EXECUTE format('CREATE TABLE {0}.t%s (n int, at timestamptz[], mood {0}.mood, moods {0}.mood[])', i);
         END LOOP; END $$; RESET ROLE",
        fixture.theirs, fixture.grant.role
    );
    fixture.sql.batch_execute(&made).await.expect("tables");
    assert_eq!(fixture.value("SELECT 1").await, "1");
}
