//! Nested row types, which the driver reads recursively.

use super::scene::*;
use pgtq_task::Problem;

/// Creates types in the role's schema, each of which contains the previous one.
async fn chain(scene: &Scene, n: usize, role: &str, link: &str) {
    let link = link
        .replace("THEIRS", &scene.theirs)
        .replace("NEW", "%1$s")
        .replace("OLD", "%2$s");
    let made = format!(
        "CREATE TABLE {0}.t0 (n int); SET ROLE {role};
         DO $$ BEGIN FOR i IN 1..{n} LOOP EXECUTE format('{link}', 't' || i, 't' || i - 1); END LOOP; END $$;
         RESET ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}",
        scene.theirs, scene.grant.role
    );
    let owned = format!("GRANT ALL ON SCHEMA {} TO PUBLIC", scene.theirs);
    scene.sql.batch_execute(&owned).await.expect("a grant");
    scene.sql.batch_execute(&made).await.expect("a chain");
}

const TABLES: &str = "CREATE TABLE THEIRS.NEW AS SELECT NULL::THEIRS.OLD AS c";
const ARRAYS: &str = "CREATE TABLE THEIRS.NEW AS SELECT NULL::THEIRS.OLD[] AS c";

/// Reads the innermost type on a stack of this size.
fn read_on(stack: usize, n: usize, role: &'static str, link: &'static str) -> Problem {
    let asking = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let scene = Scene::new().await;
            let role = role.replace("ROLE_NAME", &scene.grant.role);
            chain(&scene, n, &role, link).await;
            let statement = format!("SELECT NULL::{}.t{n}[] AS deep", scene.theirs);
            let problem = scene.run(&statement).await.expect_err("no type for JSON");
            drop(scene);
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
    let mut scene = Scene::new().await;
    let mut n = 0;
    let problem = loop {
        let old = match n {
            0 => "1".to_owned(),
            n => format!("NULL::pg_temp.t{n}"),
        };
        let statement = format!("SELECT {old} AS c INTO TEMP t{}", n + 1);
        match scene.run(&statement).await {
            Ok(_) => n += 1,
            Err(problem) => break problem,
        }
        assert!(n < 300, "not stopped");
    };
    assert_eq!(problem.code, "denied", "{problem:?}");
    assert_eq!(n, 202);
    // They were temporary, so the next attempt may run.
    scene.again();
    assert_eq!(scene.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn types_of_a_member_role_count_and_a_superusers_do_not() {
    let mut scene = Scene::new().await;
    chain(&scene, 300, "NONE", TABLES).await;
    let deep = format!("SELECT NULL::{}.t10 IS NULL", scene.theirs);
    assert_eq!(scene.value(&deep).await, "true");
    let other = format!("{}_other", scene.grant.role);
    let given = format!(
        "CREATE ROLE {other}; GRANT {other} TO {0};
         DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('ALTER TABLE {1}.t%s OWNER TO {other}', i); END LOOP; END $$",
        scene.grant.role, scene.theirs
    );
    scene.sql.batch_execute(&given).await.expect("given");
    scene.again();
    assert_eq!(scene.refused("SELECT 1 AS c INTO TEMP x").await, "denied");
}

#[tokio::test]
async fn a_role_with_many_ordinary_tables_is_accepted() {
    let scene = Scene::new().await;
    let made = format!(
        "CREATE DOMAIN {0}.mail AS text; CREATE TYPE {0}.mood AS ENUM ('good');
         SET ROLE {1};
         DO $$ BEGIN FOR i IN 1..500 LOOP
             EXECUTE format('CREATE TABLE {0}.t%s (n int, at timestamptz[], mood {0}.mood, moods {0}.mood[])', i);
         END LOOP; END $$; RESET ROLE",
        scene.theirs, scene.grant.role
    );
    scene.sql.batch_execute(&made).await.expect("tables");
    assert_eq!(scene.value("SELECT 1").await, "1");
}
