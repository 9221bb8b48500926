//! Session settings that the store depends on, and rescues in steps.

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::tests::popped::refused;
use crate::tests::roles::user;
use crate::verbs::roles::RoleKind;
use pgtq_task::TaskId;

#[tokio::test]
async fn functions_that_need_new_commits_are_rejected_under_an_old_snapshot() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('a') FROM generate_series(1, 2)").await;
    for (sql, what) in [
        ("SELECT pop()".to_owned(), "pop"),
        ("SELECT rescue()".to_owned(), "rescue"),
        ("SELECT release_claims('{1}')".to_owned(), "release claims"),
        ("SELECT cancel(1)".to_owned(), "cancel tasks"),
        ("SELECT retry(1)".to_owned(), "retry tasks"),
    ] {
        for level in ["repeatable read", "serializable"] {
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            client.batch_execute(&begin).await.expect("begin");
            let (message, hint) = refused(&client, &sql).await;
            assert_eq!(
                message,
                format!("25001 cannot {what} at isolation level {level}")
            );
            assert!(hint.contains("READ COMMITTED"), "{hint}");
            client.batch_execute("ROLLBACK").await.expect("rollback");
        }
    }
}

#[tokio::test]
async fn a_push_with_a_key_makes_one_task_at_every_level() {
    for level in ["read committed", "repeatable read", "serializable"] {
        let store = store().await;
        let first = psql(&store).await;
        let second = psql(&store).await;
        let look = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM history");
        second.batch_execute(&look).await.expect("begin");
        let push = "SELECT push('a', key => 'k')";
        let id = ask(&first, push).await;
        match level {
            "read committed" => assert_eq!(ask(&second, push).await, id),
            _ => {
                let (message, _) = refused(&second, push).await;
                assert!(message.starts_with("40001"), "{message}");
            }
        }
        second.batch_execute("ROLLBACK").await.expect("rollback");
        assert_eq!(ask(&first, "SELECT count(*) FROM tasks").await, "1");
    }
}

#[tokio::test]
async fn a_different_default_isolation_level_changes_nothing() {
    let owner = store().await;
    let root = psql(&owner).await;
    let runner = user(&owner, RoleKind::Runner).await;
    let role = format!("{}_runner", owner.config().schema);
    let default = "default_transaction_isolation = 'serializable'";
    root.batch_execute(&format!("ALTER ROLE {role} SET {default}"))
        .await
        .expect("set");
    for is_pooled in [false, true] {
        let mut config = runner.config().clone();
        config.poll_only = is_pooled;
        let store = Store::connect(config).await.expect("connect");
        let mut works = TestRunner::new(&store, &["a"]).await;
        owner.push(&[new_task("a")]).await.expect("push");
        let claim = works.claim(1).await.remove(0).claim;
        let released = store.release_claim(works.id, claim).await;
        assert_eq!(released.expect("released"), 1);
        let endings = works.claim(1).await;
        let expire = format!(
            "UPDATE runners SET expires_at = now() - interval '1 s' WHERE id = {}",
            works.id.0
        );
        root.batch_execute(&expire).await.expect("kill");
        assert_eq!(store.rescue().await.expect("rescue").tasks, 1);
        let finished = works.store.finish(works.id, &endings, false).await;
        assert_eq!(finished.expect("finish").stale.len(), 1);
        root.batch_execute("DELETE FROM runnable_tasks")
            .await
            .expect("delete");
    }
}

#[tokio::test]
async fn a_rescue_without_time_for_all_rescues_some() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('a') FROM generate_series(1, 30)").await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    for _ in 0..30 {
        assert_eq!(runner.claim(1).await.len(), 1);
    }
    // A server that rescues at most five claims before its timeout.
    client
        .batch_execute(
            "UPDATE runners SET expires_at = now() - interval '1 s';
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF (SELECT count(*) FROM gone) > 5 THEN
                     RAISE EXCEPTION USING ERRCODE = '57014', MESSAGE = 'canceling statement due to statement timeout';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER slow AFTER DELETE ON claims REFERENCING OLD TABLE AS gone
                 FOR EACH STATEMENT EXECUTE FUNCTION slow()",
        )
        .await
        .expect("a slow server");
    let (mut n_rescued, mut n_failed) = (0, 0);
    while n_rescued < 30 {
        match store.rescue().await {
            Ok(rescued) => n_rescued += rescued.tasks,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                n_failed += 1;
            }
        }
        assert!(n_failed < 100, "it gets nowhere: {n_rescued} rescued");
    }
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
}

#[tokio::test]
async fn arrays_of_different_lengths_are_rejected_with_a_clear_error() {
    let store = store().await;
    let client = psql(&store).await;
    for (args, priorities) in [
        ("ARRAY['{}']", "ARRAY[0, 0]"),
        ("ARRAY['{}', '{}']", "ARRAY[0]"),
        ("ARRAY['{}', '{}']", "ARRAY[0, NULL]"),
        ("NULL", "ARRAY[0, 0]"),
    ] {
        let push = format!(
            "SELECT push_rows(ARRAY['a', 'b'], {args}, ARRAY['q', 'q'], {priorities}, ARRAY[NULL, NULL]::interval[],
                 ARRAY[NULL, NULL]::timestamptz[], ARRAY[NULL, NULL]::integer[], ARRAY[NULL, NULL]::text[],
                 ARRAY[NULL, NULL]::bigint[])"
        );
        let (message, hint) = refused(&client, &push).await;
        assert_eq!(message, "22023 the arrays do not describe the same tasks");
        assert!(hint.contains("one length"), "{hint}");
    }
}

#[tokio::test]
async fn row_security_is_reported_by_blocked_calls_and_by_doctor() {
    let owner = store().await;
    let runner = user(&owner, RoleKind::Runner).await;
    let pusher = user(&owner, RoleKind::Pusher).await;
    let mut works = TestRunner::new(&runner, &["a"]).await;
    owner.push(&vec![new_task("a"); 2]).await.expect("push");
    assert_eq!(works.claim(1).await.len(), 1);
    assert!(runner.server().await.expect("server").unfit().is_empty());
    let client = psql(&owner).await;
    client
        .batch_execute("ALTER TABLE runnable_tasks ENABLE ROW LEVEL SECURITY")
        .await
        .expect("altered");
    // Also for a runner that knows no lanes yet.
    let mut fresh = TestRunner::new(&runner, &["a"]).await;
    let handlers = works.handlers.clone();
    for runner in [&mut works, &mut fresh] {
        let (id, lanes) = (runner.id, &mut runner.lanes);
        let claimed = runner.store.claim(id, lanes, &handlers, 1).await;
        let error = claimed.expect_err("a claim reads runnable_tasks");
        let hint = error.hint().expect("a hint").to_owned();
        assert!(error.to_string().contains("row-level security"), "{error}");
        assert!(hint.contains("DISABLE ROW LEVEL SECURITY"), "{hint}");
    }
    let unfit = runner.server().await.expect("server").unfit();
    let found: Vec<_> = unfit.iter().map(|one| (one.name, one.is_bad)).collect();
    assert_eq!(found, [("row security", true)]);
    assert!(unfit[0].found.contains("runnable_tasks"), "{unfit:?}");
    // A role without a privilege gets the same error as before.
    let other = pusher.cancel(&[TaskId(1)]).await.expect_err("no right");
    assert!(other.hint().is_some_and(|hint| hint.contains("pgtq roles")));
    client
        .batch_execute("ALTER TABLE runnable_tasks DISABLE ROW LEVEL SECURITY")
        .await
        .expect("altered");
    assert_eq!(works.claim(1).await.len(), 1);
}
