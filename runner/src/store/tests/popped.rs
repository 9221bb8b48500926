//! Claims that `pop` makes: whose they are, that they end once at every isolation
//! level, and that none is too large to be taken back.

use super::super::testdb::*;
use super::super::{RoleKind, Store};
use super::roles::{log_in, user};

/// What the server says to a statement that it refuses, and the hint.
async fn refused(client: &tokio_postgres::Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let db = error.as_db_error().expect("the server's");
    let code = db.code().code();
    (
        format!("{code} {}", db.message()),
        db.hint().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn only_who_popped_a_task_ends_it_or_keeps_it() {
    let owner = store().await;
    let ours = psql(&user(&owner, RoleKind::Worker).await).await;
    let other = format!("{}_other", owner.config().schema);
    let root = psql(&owner).await;
    let create = format!("CREATE ROLE {other} LOGIN");
    root.batch_execute(&create).await.expect("a role");
    let granted = owner.grant_role(RoleKind::Worker, &other).await;
    granted.expect("granted");
    let theirs = psql(&log_in(&owner, &other).await).await;

    ask(&root, "SELECT push('a') FROM generate_series(1, 2)").await;
    let claim = ask(&ours, "SELECT claim_id FROM pop(n => 2)").await;
    let ends = [
        format!("SELECT complete(1, {claim}, '\"forged\"')"),
        format!("SELECT fail(1, {claim}, 'forged', fatal => true)"),
        format!("SELECT extend({claim}, '30 days')"),
    ];
    for end in &ends {
        let (message, hint) = refused(&theirs, end).await;
        assert_eq!(
            message,
            format!("42501 the claim {claim} belongs to another worker")
        );
        assert!(hint.contains("the role that popped it"), "{hint}");
    }
    // Nor does trying keep the claim from its worker.
    theirs.batch_execute("BEGIN").await.expect("begin");
    refused(&theirs, &ends[0]).await;
    let complete = format!("SELECT complete(1, {claim})");
    assert_eq!(ask(&ours, &complete).await, "t");
    // The owner, and whoever is a member of it, may do everything.
    let complete = format!("SELECT complete(2, {claim})");
    assert_eq!(ask(&root, &complete).await, "t");
    assert_eq!(ask(&root, "SELECT count(*) FROM complete").await, "2");
}

#[tokio::test]
async fn what_rests_on_seeing_others_commits_is_refused_under_an_old_snapshot() {
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
async fn a_popped_task_ends_once_in_transactions_of_every_level() {
    let ends = ["complete(1, {claim})", "fail(1, {claim}, 'no')"];
    for level in ["read committed", "repeatable read", "serializable"] {
        for (first_end, second_end) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let store = store().await;
            let first = psql(&store).await;
            let second = psql(&store).await;
            ask(&first, "SELECT push('a') FROM generate_series(1, 2)").await;
            let claim = ask(&first, "SELECT max(claim_id) FROM pop(n => 2)").await;
            let call = |end: &str| format!("SELECT {}", end.replace("{claim}", &claim));
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            // The second has looked at the database before the first ends the task.
            let look = format!("{begin}; SELECT count(*) FROM history");
            second.batch_execute(&look).await.expect("begin");
            first.batch_execute(&begin).await.expect("begin");
            assert_eq!(ask(&first, &call(first_end)).await, "t");
            first.batch_execute("COMMIT").await.expect("commit");
            if level == "read committed" {
                assert_eq!(ask(&second, &call(second_end)).await, "f");
            } else {
                let (message, _) = refused(&second, &call(second_end)).await;
                assert!(message.starts_with("40001"), "{message}");
            }
            second.batch_execute("ROLLBACK").await.expect("rollback");
            let places = "SELECT count(*) FROM tasks WHERE id = 1";
            assert_eq!(ask(&first, places).await, "1");
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
async fn a_database_whose_default_is_another_isolation_level_changes_nothing() {
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

/// Pushes tasks of a MiB: of noise, or of what becomes small in the database.
async fn push_large(client: &tokio_postgres::Client, n: usize, is_noise: bool) {
    let text = match is_noise {
        true => {
            "(SELECT string_agg(md5(t::text || i::text), '') FROM generate_series(1, 32000) AS i)"
        }
        false => "repeat('pgtq', 256000 + t * 0)",
    };
    let push = format!("SELECT push('a', to_json({text})::text) FROM generate_series(1, {n}) AS t");
    client.batch_execute(&push).await.expect("push");
}

#[tokio::test]
async fn a_pop_of_large_tasks_takes_some_megabytes_of_them() {
    for is_noise in [true, false] {
        let store = store().await;
        let client = psql(&store).await;
        push_large(&client, 40, is_noise).await;
        // 32 MiB, and the task that goes beyond them.
        let popped = "SELECT count(*) FROM pop(n => 10000)";
        assert_eq!(ask(&client, popped).await, "33", "{is_noise}");
        assert_eq!(ask(&client, popped).await, "7");
        assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "0");
    }
}

#[tokio::test]
async fn large_claims_are_taken_back_some_at_a_time() {
    let store = store().await;
    let client = psql(&store).await;
    push_large(&client, 20, true).await;
    for _ in 0..5 {
        ask(&client, "SELECT count(*) FROM pop(n => 4)").await;
    }
    let expire = "UPDATE claims SET expires_at = now() - interval '1 s'";
    client.batch_execute(expire).await.expect("expire");
    let mut steps = Vec::new();
    loop {
        let rescued = store.rescue().await.expect("rescue").tasks;
        if rescued == 0 {
            break;
        }
        steps.push(rescued);
    }
    assert_eq!(steps, [12, 8]);
}

#[tokio::test]
async fn a_rescue_that_has_no_time_for_all_takes_back_some() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('a') FROM generate_series(1, 30)").await;
    for _ in 0..30 {
        ask(&client, "SELECT count(*) FROM pop()").await;
    }
    // A server that takes back at most five claims before its time is over.
    client
        .batch_execute(
            "UPDATE claims SET expires_at = now() - interval '1 s';
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
async fn arrays_that_do_not_fit_each_other_are_refused_in_words() {
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
