//! Values that a task's attempts save for later attempts.

use std::time::Duration;

use crate::handler_sql::tests::fixture::*;
use crate::handler_sql::work::Commit;
use pgtq_task::{Database as _, GuestError, Transition};

impl Fixture {
    async fn save(&self, name: &str, value: &str, with_sql: bool) -> Result<(), GuestError> {
        self.database
            .save(&self.limits, name, value, with_sql)
            .await
    }

    async fn load(&self, name: &str) -> Option<String> {
        self.database.load(name).await.expect("loads")
    }
}

const ALL: &str = "SELECT string_agg(name || '=' || value, ' ' ORDER BY name) FROM task_state";

#[tokio::test]
async fn a_saved_value_is_available_to_the_next_attempt() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.load("a").await, None);
    fixture.save("a", "{\"x\": 1}", false).await.expect("saves");
    fixture.save("a", "{\"x\": 2}", false).await.expect("saves");
    assert_eq!(fixture.load("a").await.as_deref(), Some("{\"x\": 2}"));
    assert_eq!(fixture.ask(ALL).await, "a={\"x\": 2}");
    fixture.again();
    assert_eq!(fixture.load("a").await.as_deref(), Some("{\"x\": 2}"));
}

#[tokio::test]
async fn a_value_saved_with_sql_commits_or_rolls_back_with_it() {
    let mut fixture = Fixture::new().await;
    fixture
        .save("before", "0", true)
        .await
        .expect("there is no transaction yet");
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture.save("a", "1", true).await.expect("saves");
    assert_eq!(fixture.load("a").await.as_deref(), Some("1"));
    assert_eq!(fixture.ask(ALL).await, "before=0");
    // Waiting for its own transaction would deadlock.
    assert_eq!(
        fixture.save("a", "2", false).await.expect_err("open").code,
        "invalid"
    );
    fixture.database.roll_back().await;
    fixture.again();
    assert_eq!(fixture.load("a").await, None);
    fixture
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    fixture.save("a", "1", true).await.expect("saves");
    fixture
        .database
        .checkpoint(&fixture.limits, "9")
        .await
        .expect("a checkpoint");
    assert_eq!(fixture.ask(ALL).await, "=9 a=1 before=0");
    fixture
        .save("a", "2", false)
        .await
        .expect("it was committed");
}

#[tokio::test]
async fn a_failed_statement_rolls_back_values_saved_with_it() {
    let fixture = Fixture::new().await;
    fixture.run("SELECT 1").await.expect("runs");
    fixture.save("a", "1", true).await.expect("saves");
    fixture.run("SELECT 1 / 0").await.expect_err("a division");
    assert_eq!(fixture.load("a").await, None);
    assert_eq!(fixture.ask(ALL).await, "null");
}

#[tokio::test]
async fn an_attempt_without_its_claim_saves_nothing() {
    let fixture = Fixture::new().await;
    fixture.run("SELECT 1").await.expect("runs");
    fixture
        .sql
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    assert_eq!(
        fixture.save("a", "1", false).await.expect_err("lost").code,
        "lost"
    );
    assert_eq!(
        fixture.save("b", "1", true).await.expect_err("lost").code,
        "lost"
    );
    assert_eq!(fixture.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn values_are_deleted_on_completion_and_kept_on_failure() {
    for (completes, left) in [(true, "null"), (false, "a=1")] {
        let mut fixture = Fixture::new().await;
        fixture.save("a", "1", false).await.expect("saves");
        if !completes {
            let failure = pgtq_task::Failure::new(pgtq_task::ErrorKind::Error, "no");
            fixture.ending.transition = Transition::Fail { failure };
        }
        fixture.finish(false).await;
        assert_eq!(fixture.ask(ALL).await, left);
        assert_eq!(fixture.ask("SELECT count(*) FROM claims").await, "0");
    }
}

#[tokio::test]
async fn values_have_one_limit_together() {
    let mut fixture = Fixture::new().await;
    fixture.limits.state_bytes = 10;
    fixture.save("a", "123456", false).await.expect("saves");
    let problem = fixture
        .save("b", "12345", false)
        .await
        .expect_err("too much");
    assert_eq!(problem.code, "limit");
    assert!(problem.message.contains("11 bytes"), "{problem:?}");
    fixture.save("a", "1", false).await.expect("shorter");
    fixture
        .save("b", "12345", false)
        .await
        .expect("it fits now");
    fixture.limits.state_bytes = 1 << 20;
    for n in 0..998 {
        // Not one by one: each is a commit.
        if n == 0 {
            fixture.sql.batch_execute(
                "INSERT INTO task_state SELECT task_id, 'n' || n, '1', claim_id FROM task_state, generate_series(1, 998) AS n WHERE name = 'a'",
            ).await.expect("insert");
        }
    }
    fixture.again();
    assert_eq!(
        fixture
            .save("more", "1", false)
            .await
            .expect_err("names")
            .code,
        "limit"
    );
    fixture.save("b", "2", false).await.expect("a known name");
}

#[tokio::test]
async fn pruning_deletes_the_values_of_finished_tasks() {
    let fixture = Fixture::new().await;
    let day = Duration::from_secs(24 * 3600);
    fixture.save("a", "1", false).await.expect("saves");
    let prune = async || {
        fixture.store.prune(day).await.expect("prune");
        fixture.ask(ALL).await
    };
    assert_eq!(prune().await, "a=1");
    // Old, and its task is running.
    fixture
        .sql
        .batch_execute("UPDATE task_state SET saved_at = now() - interval '9 days'")
        .await
        .expect("update");
    assert_eq!(prune().await, "a=1");
    let mut ending = fixture.ending.clone();
    ending.transition = Transition::Snooze { delay: day };
    fixture
        .runner
        .store
        .finish(fixture.runner.id, &[ending], false)
        .await
        .expect("finish");
    assert_eq!(prune().await, "a=1");
    fixture
        .sql
        .batch_execute("SELECT retry(id) FROM scheduled")
        .await
        .expect("retry");
    assert_eq!(prune().await, "a=1");
    fixture
        .sql
        .batch_execute("SELECT delete_tasks(array_agg(id)) FROM runnable")
        .await
        .expect("delete");
    assert_eq!(prune().await, "null");
}

#[tokio::test]
async fn values_left_by_an_earlier_attempt_of_a_complete_task_are_pruned() {
    let mut fixture = Fixture::new().await;
    fixture.save("a", "1", false).await.expect("saves");
    // The next attempt does not load them, so its outcome costs nothing more.
    fixture.again();
    fixture.finish(false).await;
    assert_eq!(fixture.ask(ALL).await, "a=1");
    fixture
        .store
        .prune(Duration::from_secs(24 * 3600))
        .await
        .expect("prune");
    assert_eq!(fixture.ask(ALL).await, "null");
}

#[tokio::test]
async fn text_allowed_only_in_json_survives() {
    let fixture = Fixture::new().await;
    let value = "{\"a\":\"\\u0000 ä \\ud83d\\ude00\",\"big\":123456789012345678901234567890}";
    fixture.save("a", value, false).await.expect("saves");
    fixture.run("SELECT 1").await.expect("runs");
    fixture.save("b", value, true).await.expect("saves");
    let commit = fixture.database.complete(&fixture.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
}
