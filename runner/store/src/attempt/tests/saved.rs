//! Values that a task's attempts save for later attempts.

use std::time::Duration;

use super::scene::*;
use crate::Commit;
use pgtq_task::{Database as _, Problem, Transition};

impl Scene {
    async fn save(&self, name: &str, value: &str, with_sql: bool) -> Result<(), Problem> {
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
    let mut scene = Scene::new().await;
    assert_eq!(scene.load("a").await, None);
    scene.save("a", "{\"x\": 1}", false).await.expect("saves");
    scene.save("a", "{\"x\": 2}", false).await.expect("saves");
    assert_eq!(scene.load("a").await.as_deref(), Some("{\"x\": 2}"));
    assert_eq!(scene.ask(ALL).await, "a={\"x\": 2}");
    scene.again();
    assert_eq!(scene.load("a").await.as_deref(), Some("{\"x\": 2}"));
}

#[tokio::test]
async fn a_value_saved_with_sql_commits_or_rolls_back_with_it() {
    let mut scene = Scene::new().await;
    scene
        .save("before", "0", true)
        .await
        .expect("there is no transaction yet");
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene.save("a", "1", true).await.expect("saves");
    assert_eq!(scene.load("a").await.as_deref(), Some("1"));
    assert_eq!(scene.ask(ALL).await, "before=0");
    // Waiting for its own transaction would deadlock.
    assert_eq!(
        scene.save("a", "2", false).await.expect_err("open").code,
        "invalid"
    );
    scene.database.roll_back().await;
    scene.again();
    assert_eq!(scene.load("a").await, None);
    scene
        .run("INSERT INTO rows VALUES (1)")
        .await
        .expect("runs");
    scene.save("a", "1", true).await.expect("saves");
    scene
        .database
        .checkpoint(&scene.limits, "9")
        .await
        .expect("a checkpoint");
    assert_eq!(scene.ask(ALL).await, "=9 a=1 before=0");
    scene.save("a", "2", false).await.expect("it was committed");
}

#[tokio::test]
async fn a_failed_statement_rolls_back_values_saved_with_it() {
    let scene = Scene::new().await;
    scene.run("SELECT 1").await.expect("runs");
    scene.save("a", "1", true).await.expect("saves");
    scene.run("SELECT 1 / 0").await.expect_err("a division");
    assert_eq!(scene.load("a").await, None);
    assert_eq!(scene.ask(ALL).await, "null");
}

#[tokio::test]
async fn an_attempt_without_its_claim_saves_nothing() {
    let scene = Scene::new().await;
    scene.run("SELECT 1").await.expect("runs");
    scene
        .sql
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    assert_eq!(
        scene.save("a", "1", false).await.expect_err("lost").code,
        "lost"
    );
    assert_eq!(
        scene.save("b", "1", true).await.expect_err("lost").code,
        "lost"
    );
    assert_eq!(scene.ask("SELECT count(*) FROM task_state").await, "0");
}

#[tokio::test]
async fn values_are_deleted_on_completion_and_kept_on_failure() {
    for (completes, left) in [(true, "null"), (false, "a=1")] {
        let mut scene = Scene::new().await;
        scene.save("a", "1", false).await.expect("saves");
        if !completes {
            let failure = pgtq_task::Failure::new(pgtq_task::ErrorKind::Error, "no");
            scene.ending.transition = Transition::Fail { failure };
        }
        scene.finish(false).await;
        assert_eq!(scene.ask(ALL).await, left);
        assert_eq!(scene.ask("SELECT count(*) FROM claims").await, "0");
    }
}

#[tokio::test]
async fn values_have_one_limit_together() {
    let mut scene = Scene::new().await;
    scene.limits.state_bytes = 10;
    scene.save("a", "123456", false).await.expect("saves");
    let problem = scene.save("b", "12345", false).await.expect_err("too much");
    assert_eq!(problem.code, "limit");
    assert!(problem.message.contains("11 bytes"), "{problem:?}");
    scene.save("a", "1", false).await.expect("shorter");
    scene
        .save("b", "12345", false)
        .await
        .expect("there is room now");
    scene.limits.state_bytes = 1 << 20;
    for n in 0..998 {
        // Not one by one: each is a commit.
        if n == 0 {
            scene.sql.batch_execute(
                "INSERT INTO task_state SELECT task_id, 'n' || n, '1', claim_id FROM task_state, generate_series(1, 998) AS n WHERE name = 'a'",
            ).await.expect("insert");
        }
    }
    scene.again();
    assert_eq!(
        scene
            .save("more", "1", false)
            .await
            .expect_err("names")
            .code,
        "limit"
    );
    scene.save("b", "2", false).await.expect("a known name");
}

#[tokio::test]
async fn pruning_deletes_the_values_of_finished_tasks() {
    let scene = Scene::new().await;
    let day = Duration::from_secs(24 * 3600);
    scene.save("a", "1", false).await.expect("saves");
    let prune = async || {
        scene.store.prune(day).await.expect("prune");
        scene.ask(ALL).await
    };
    assert_eq!(prune().await, "a=1");
    // Old, and its task is running.
    scene
        .sql
        .batch_execute("UPDATE task_state SET saved_at = now() - interval '9 days'")
        .await
        .expect("update");
    assert_eq!(prune().await, "a=1");
    let mut ending = scene.ending.clone();
    ending.transition = Transition::Snooze { delay: day };
    scene
        .runner
        .store
        .finish(scene.runner.id, &[ending], false)
        .await
        .expect("finish");
    assert_eq!(prune().await, "a=1");
    scene
        .sql
        .batch_execute("SELECT retry(id) FROM scheduled")
        .await
        .expect("retry");
    assert_eq!(prune().await, "a=1");
    scene
        .sql
        .batch_execute("SELECT delete_tasks(array_agg(id)) FROM runnable")
        .await
        .expect("delete");
    assert_eq!(prune().await, "null");
}

#[tokio::test]
async fn values_left_by_an_earlier_attempt_of_a_complete_task_are_pruned() {
    let mut scene = Scene::new().await;
    scene.save("a", "1", false).await.expect("saves");
    // The next attempt does not load them, so its outcome costs nothing more.
    scene.again();
    scene.finish(false).await;
    assert_eq!(scene.ask(ALL).await, "a=1");
    scene
        .store
        .prune(Duration::from_secs(24 * 3600))
        .await
        .expect("prune");
    assert_eq!(scene.ask(ALL).await, "null");
}

#[tokio::test]
async fn text_that_only_json_allows_survives() {
    let scene = Scene::new().await;
    let value = "{\"a\":\"\\u0000 ä \\ud83d\\ude00\",\"big\":123456789012345678901234567890}";
    scene.save("a", value, false).await.expect("saves");
    scene.run("SELECT 1").await.expect("runs");
    scene.save("b", value, true).await.expect("saves");
    let commit = scene.database.complete(&scene.ending).await;
    assert!(matches!(commit, Commit::Recorded), "{commit:?}");
}
