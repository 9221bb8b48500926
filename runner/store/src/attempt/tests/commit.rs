//! Verifies exactly what is committed, for every way in which an attempt can end.

use super::scene::*;
use crate::testdb::new_task;
use crate::{Commit, CommitStatus};
use pgtq_task::{Database as _, ErrorKind};

#[tokio::test]
async fn sql_result_and_children_commit_together() {
    let mut scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    assert_eq!(scene.n_rows().await, "0");
    scene.ending.record.children = vec![child()];
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(scene.n_rows().await, "1");
    let stored =
        "SELECT state || ' ' || result || ' ' || attempts || ' ' || (finished_at >= started_at)
        || ' ' || (started_at > pushed_at) FROM history";
    assert_eq!(scene.ask(stored).await, "complete 1 1 true true");
    let child =
        "SELECT handler || ' ' || key || ' ' || (parent = (SELECT id FROM history)) FROM runnable";
    assert_eq!(scene.ask(child).await, "b child true");
    // Only the claim is left to close, which is the completer's task.
    assert_eq!(scene.ask("SELECT count(*) FROM running").await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM claims").await, "1");
    assert_eq!(scene.finish(true).await, Default::default());
    assert_eq!(scene.ask("SELECT count(*) FROM claims").await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM history").await, "1");
}

#[tokio::test]
async fn an_unsuccessful_attempt_leaves_no_row() {
    let mut scene = Scene::new().await;
    for _ in 0..3 {
        scene
            .run("INSERT INTO rows VALUES (1)")
            .await
            .expect("runs");
        scene.database.roll_back().await;
        scene.again();
    }
    assert_eq!(scene.n_rows().await, "0");
    // Three attempts, one connection.
    assert!(
        scene
            .ask(&scene.connections())
            .await
            .parse::<u32>()
            .expect("a count")
            <= 2
    );
}

#[tokio::test]
async fn an_attempt_without_sql_is_stored_the_usual_way() {
    let scene = Scene::new().await;
    assert!(!scene.database.is_used());
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Nothing), "{commit:?}");
    assert_eq!(scene.finish(false).await, Default::default());
    assert_eq!(scene.ask("SELECT count(*) FROM complete").await, "1");
    assert_eq!(scene.ask(&scene.connections()).await, "0");
}

#[tokio::test]
async fn a_rescued_claim_commits_nothing() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    assert_eq!(scene.store.rescue().await.expect("rescue").tasks, 1);
    // Its connection has ended, or is about to.
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Stale | Commit::Lost), "{commit:?}");
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT state FROM tasks").await, "runnable");
}

#[tokio::test]
async fn the_transactions_of_a_lost_runner_end_with_its_rescue() {
    let scene = Scene::new().await;
    let idle = scene
        .value("SELECT current_setting('idle_in_transaction_session_timeout')")
        .await;
    assert_eq!(idle, "\"15s\"");
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let open = format!("{} AND xact_start IS NOT NULL", scene.connections());
    assert_eq!(scene.ask(&open).await, "1");
    scene
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    scene.store.rescue().await.expect("rescue");
    scene.wait(&open, "0").await;
}

#[tokio::test]
async fn a_transaction_is_kept_while_the_lease_is_held() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let asked = format!(
        "{} AND state = 'idle in transaction' AND query = ''",
        scene.connections()
    );
    let database = scene.database.clone();
    let keeping = tokio::spawn(async move { database.keep_alive(|| true).await });
    scene.wait(&asked, "1").await;
    keeping.abort();
    scene.value("SELECT 1").await;
    assert_eq!(scene.ask(&asked).await, "0");
}

/// The order of the two locks decides, and both orders are correct.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_waiting_for_a_rescue_is_stale() {
    let scene = Scene::new().await;
    // Prevents the rescue from finding its connection.
    let other = "SELECT set_config('application_name', 'other', true)";
    scene.value(other).await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    let rescuing = crate::testdb::psql(&scene.store).await;
    rescuing
        .batch_execute("BEGIN; SELECT rescue()")
        .await
        .expect("rescue");
    let (database, ending) = (scene.database.clone(), scene.ending.clone());
    let completing = tokio::spawn(async move { database.complete(&ending).await });
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '{}'",
        scene.grant.role
    );
    scene.wait(&waits, "1").await;
    rescuing.batch_execute("COMMIT").await.expect("commit");
    let commit = completing.await.expect("joined");
    assert!(matches!(commit, Commit::Stale), "{commit:?}");
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM runnable").await, "1");
}

#[tokio::test]
async fn a_failed_statement_dooms_the_attempt_for_every_return_value() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let problem = scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect_err("a duplicate");
    assert_eq!(problem.code, "sql:23505");
    assert!(problem.message.contains("already exists"), "{problem:?}");
    let later = scene.run("SELECT 1").await.expect_err("doomed");
    assert_eq!(later.code, "sql:25P02");
    assert!(later.message.contains("duplicate key"), "{later:?}");
    match scene.database.complete(&scene.ending).await {
        Commit::Refused(failure) => {
            assert_eq!(
                (failure.kind, failure.code.as_str()),
                (ErrorKind::Sql, "sql:23505")
            );
            assert!(failure.message.contains("duplicate key"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM history").await, "0");
}

#[tokio::test]
async fn a_statement_rejected_before_it_runs_dooms_nothing() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    assert_eq!(scene.refused("COMMIT").await, "invalid");
    assert_eq!(scene.refused("SELECT $1::int").await, "invalid");
    assert_eq!(scene.refused("SELECT point '(1,2)'").await, "invalid");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(scene.n_rows().await, "1");
}

#[tokio::test]
async fn a_deferred_constraint_failing_at_commit_fails_the_attempt() {
    let scene = Scene::new().await;
    let deferred = format!(
        "ALTER TABLE {0}.rows ADD parent bigint REFERENCES {0}.rows DEFERRABLE INITIALLY DEFERRED",
        scene.theirs
    );
    scene.sql.batch_execute(&deferred).await.expect("alter");
    scene
        .run("INSERT INTO rows VALUES (1, 'x', 7)")
        .await
        .expect("runs");
    match scene.database.complete(&scene.ending).await {
        Commit::Refused(failure) => {
            assert_eq!(failure.kind, ErrorKind::Sql);
            assert!(failure.message.contains("foreign key"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM history").await, "0");
}

/// Triggers written for the role's search path run under it, even if deferred.
#[tokio::test]
async fn a_deferred_trigger_uses_its_own_search_path() {
    let scene = Scene::new().await;
    let trigger = format!(
        "CREATE TABLE {0}.log (n bigint);
         ALTER TABLE {0}.log OWNER TO {1};
         CREATE FUNCTION {0}.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.n); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER note AFTER INSERT ON {0}.rows DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION {0}.note()",
        scene.theirs, scene.grant.role
    );
    scene.sql.batch_execute(&trigger).await.expect("a trigger");
    scene
        .run("INSERT INTO rows VALUES (5)")
        .await
        .expect("runs");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(
        scene
            .ask(&format!("SELECT n FROM {}.log", scene.theirs))
            .await,
        "5"
    );
}

#[tokio::test]
async fn a_connection_lost_before_the_commit_counts_as_an_outage() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let kill = scene
        .connections()
        .replace("count(*)", "count(pg_terminate_backend(pid))");
    assert_eq!(scene.ask(&kill).await, "1");
    scene.wait(&scene.connections(), "0").await;
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Lost), "{commit:?}");
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(
        scene.database.commit_status().await.expect("an answer"),
        CommitStatus::RolledBack
    );
}

#[tokio::test]
async fn the_commit_status_of_an_attempt_is_read_back() {
    let scene = Scene::new().await;
    assert_eq!(
        scene.database.commit_status().await.expect("an answer"),
        CommitStatus::RolledBack
    );
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(
        scene.database.commit_status().await.expect("an answer"),
        CommitStatus::Committed
    );
    scene.finish(true).await;
    assert_eq!(
        scene.database.commit_status().await.expect("an answer"),
        CommitStatus::Committed
    );
    scene
        .sql
        .batch_execute("DELETE FROM history")
        .await
        .expect("delete");
    assert_eq!(
        scene.database.commit_status().await.expect("an answer"),
        CommitStatus::ClaimLost
    );
}

#[tokio::test]
async fn a_key_of_a_child_makes_one_task_over_attempts() {
    let mut scene = Scene::new().await;
    scene.store.push(&[child()]).await.expect("push");
    scene.run("SELECT 1").await.expect("runs");
    scene.ending.record.children = vec![child(), child()];
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(scene.ask("SELECT count(*) FROM runnable").await, "1");
}

#[tokio::test]
async fn a_rejected_child_rolls_back_the_whole_attempt() {
    let mut scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let bad = pgtq_task::NewTask {
        args: "{".into(),
        ..new_task("b")
    };
    scene.ending.record.children = vec![child(), bad];
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Refused(_)), "{commit:?}");
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM tasks").await, "1");
}

#[tokio::test]
async fn a_checkpoint_commits_all_previous_sql() {
    let mut scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene
        .database
        .checkpoint(&scene.limits, "{\"at\":1}")
        .await
        .expect("a checkpoint");
    assert_eq!(scene.n_rows().await, "1");
    scene
        .run("INSERT INTO rows VALUES (2)")
        .await
        .expect("runs");
    scene.database.roll_back().await;
    scene.again();
    assert_eq!(scene.n_rows().await, "1");
    assert_eq!(
        scene.database.load("").await.expect("loads").as_deref(),
        Some("{\"at\":1}")
    );
    scene
        .run("INSERT INTO rows VALUES (3)")
        .await
        .expect("runs");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(scene.n_rows().await, "2");
    assert_eq!(scene.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn a_checkpoint_of_a_rescued_task_commits_nothing() {
    let scene = Scene::new().await;
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene
        .sql
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    let problem = scene
        .database
        .checkpoint(&scene.limits, "1")
        .await
        .expect_err("lost");
    assert_eq!(problem.code, "lost");
    assert_eq!(scene.n_rows().await, "0");
    assert_eq!(scene.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn times_and_texts_are_stored_as_by_the_usual_finish() {
    let mut scene = Scene::new().await;
    scene.ending.transition = pgtq_task::Transition::Complete {
        result: "\"a\\u0000b\"".into(),
    };
    scene.ending.record.logs_dropped = 3;
    scene.ending.record.usage.fuel = 77;
    scene.ending.record.digest = Some(pgtq_task::Digest([9; 32]));
    scene.run("SELECT 1").await.expect("runs");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    let row = "SELECT logs_dropped || ' ' || fuel || ' ' || encode(digest, 'hex') || ' ' || (result::text) FROM history";
    let wanted = format!("3 77 {} \"a\\u0000b\"", "09".repeat(32));
    assert_eq!(scene.ask(row).await, wanted);
}
