//! Verifies exactly what is committed, for every way in which an attempt can end.

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::{Commit, CommitStatus};
use pgtq_task::Database as _;

#[tokio::test]
async fn sql_result_and_children_commit_together() {
    let mut fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    assert_eq!(fixture.n_rows().await, "0");
    fixture.ending.record.children = vec![child()];
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "1");
    let stored =
        "SELECT state || ' ' || result || ' ' || attempts || ' ' || (finished_at >= started_at)
        || ' ' || (started_at > pushed_at) FROM history";
    assert_eq!(fixture.ask(stored).await, "complete 1 1 true true");
    let child =
        "SELECT handler || ' ' || key || ' ' || (parent = (SELECT id FROM history)) FROM runnable";
    assert_eq!(fixture.ask(child).await, "b child true");
    // Only the claim is left to close, which is the completer's task.
    assert_eq!(fixture.ask("SELECT count(*) FROM running").await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM claims").await, "1");
    assert_eq!(fixture.finish(true).await, Default::default());
    assert_eq!(fixture.ask("SELECT count(*) FROM claims").await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM history").await, "1");
}

#[tokio::test]
async fn an_unsuccessful_attempt_leaves_no_row() {
    let mut fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture
            .run("INSERT INTO rows VALUES (1)")
            .await
            .expect("runs");
        fixture.database.roll_back().await;
        fixture.again();
    }
    assert_eq!(fixture.n_rows().await, "0");
    // Three attempts, one connection.
    assert!(
        fixture
            .ask(&fixture.connections())
            .await
            .parse::<u32>()
            .expect("a count")
            <= 2
    );
}

#[tokio::test]
async fn an_attempt_without_sql_is_stored_the_usual_way() {
    let fixture = Fixture::new().await;
    assert!(!fixture.database.is_used());
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Nothing), "{commit:?}");
    assert_eq!(fixture.finish(false).await, Default::default());
    assert_eq!(fixture.ask("SELECT count(*) FROM complete").await, "1");
    assert_eq!(fixture.ask(&fixture.connections()).await, "0");
}

#[tokio::test]
async fn a_rescued_claim_commits_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    assert_eq!(fixture.store.rescue().await.expect("rescue").tasks, 1);
    // Its connection has ended, or is about to.
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Stale | Commit::Lost), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT state FROM tasks").await, "runnable");
}

#[tokio::test]
async fn the_transactions_of_a_lost_runner_end_with_its_rescue() {
    let fixture = Fixture::new().await;
    let idle = fixture
        .value("SELECT current_setting('idle_in_transaction_session_timeout')")
        .await;
    assert_eq!(idle, "\"15s\"");
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let open = format!("{} AND xact_start IS NOT NULL", fixture.connections());
    assert_eq!(fixture.ask(&open).await, "1");
    fixture
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    fixture.store.rescue().await.expect("rescue");
    fixture.wait(&open, "0").await;
}

#[tokio::test]
async fn a_transaction_is_kept_while_the_lease_is_held() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let asked = format!(
        "{} AND state = 'idle in transaction' AND query = ''",
        fixture.connections()
    );
    let database = fixture.database.clone();
    let keeping = tokio::spawn(async move { database.keep_alive(|| true).await });
    fixture.wait(&asked, "1").await;
    keeping.abort();
    fixture.value("SELECT 1").await;
    assert_eq!(fixture.ask(&asked).await, "0");
}

/// The order of the two locks decides, and both orders are correct.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_waiting_for_a_rescue_is_stale() {
    let fixture = Fixture::new().await;
    // Prevents the rescue from finding its connection.
    let other = "SELECT set_config('application_name', 'other', true)";
    fixture.value(other).await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .sql
        .batch_execute("UPDATE runners SET expires_at = now() - interval '1 second'")
        .await
        .expect("expire");
    let rescuing = crate::testdb::psql(&fixture.store).await;
    rescuing
        .batch_execute("BEGIN; SELECT rescue()")
        .await
        .expect("rescue");
    let (database, ending) = (fixture.database.clone(), fixture.ending.clone());
    let completing = tokio::spawn(async move { database.complete(&ending).await });
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '{}'",
        fixture.grant.role
    );
    fixture.wait(&waits, "1").await;
    rescuing.batch_execute("COMMIT").await.expect("commit");
    let commit = completing.await.expect("joined");
    assert!(matches!(commit, Commit::Stale), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM runnable").await, "1");
}

#[tokio::test]
async fn the_commit_status_of_an_attempt_is_read_back() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.database.commit_status().await.expect("an answer"),
        CommitStatus::RolledBack
    );
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(
        fixture.database.commit_status().await.expect("an answer"),
        CommitStatus::Committed
    );
    fixture.finish(true).await;
    assert_eq!(
        fixture.database.commit_status().await.expect("an answer"),
        CommitStatus::Committed
    );
    fixture
        .sql
        .batch_execute("DELETE FROM history")
        .await
        .expect("delete");
    assert_eq!(
        fixture.database.commit_status().await.expect("an answer"),
        CommitStatus::ClaimLost
    );
}

#[tokio::test]
async fn a_childs_key_makes_one_task_over_all_attempts() {
    let mut fixture = Fixture::new().await;
    fixture.store.push(&[child()]).await.expect("push");
    fixture.run("SELECT 1").await.expect("runs");
    fixture.ending.record.children = vec![child(), child()];
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.ask("SELECT count(*) FROM runnable").await, "1");
}

#[tokio::test]
async fn a_checkpoint_commits_all_previous_sql() {
    let mut fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .database
        .checkpoint(&fixture.limits, "{\"at\":1}")
        .await
        .expect("a checkpoint");
    assert_eq!(fixture.n_rows().await, "1");
    fixture
        .run("INSERT INTO rows VALUES (2)")
        .await
        .expect("runs");
    fixture.database.roll_back().await;
    fixture.again();
    assert_eq!(fixture.n_rows().await, "1");
    assert_eq!(
        fixture.database.load("").await.expect("loads").as_deref(),
        Some("{\"at\":1}")
    );
    fixture
        .run("INSERT INTO rows VALUES (3)")
        .await
        .expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    assert_eq!(fixture.n_rows().await, "2");
    assert_eq!(fixture.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn a_checkpoint_of_a_rescued_task_commits_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture
        .sql
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    let problem = fixture
        .database
        .checkpoint(&fixture.limits, "1")
        .await
        .expect_err("lost");
    assert_eq!(problem.code, "lost");
    assert_eq!(fixture.n_rows().await, "0");
    assert_eq!(fixture.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn times_and_texts_are_stored_as_by_the_usual_finish() {
    let mut fixture = Fixture::new().await;
    fixture.ending.transition = pgtq_task::Transition::Complete {
        result: "\"a\\u0000b\"".into(),
    };
    fixture.ending.record.logs_dropped = 3;
    fixture.ending.record.usage.fuel = 77;
    fixture.ending.record.digest = Some(pgtq_task::Digest([9; 32]));
    fixture.run("SELECT 1").await.expect("runs");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
    let row = "SELECT logs_dropped || ' ' || fuel || ' ' || encode(digest, 'hex') || ' ' || (result::text) FROM history";
    let wanted = format!("3 77 {} \"a\\u0000b\"", "09".repeat(32));
    assert_eq!(fixture.ask(row).await, wanted);
}
