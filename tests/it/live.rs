//! What people see of a task while it runs, and how they stop it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};

use pgtq_tests::{PATIENCE, program, wait_until};

use crate::scene::Scene;

/// `pgtq` under way, read line by line. Dropping it kills it.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut child = program()
            .args(arguments)
            .env("PGTQ_DATABASE_URL", scene.database.url())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("pgtq starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Following { child, lines }
    }

    /// The next line; panics if none comes.
    #[track_caller]
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.expect("a line comes")
    }

    /// All further lines, to its end.
    #[track_caller]
    fn rest(mut self) -> Vec<String> {
        wait_until("pgtq ends by itself", || {
            self.child
                .try_wait()
                .expect("a child can be asked")
                .is_some()
        });
        self.lines.iter().collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages of a log in JSON lines.
fn said(lines: &[String]) -> Vec<String> {
    let message = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["line"]["message"].as_str().expect("text").to_owned()
    };
    lines.iter().map(message).collect()
}

/// Waits until the task's handler has said so.
async fn wait_said(scene: &Scene, id: &str, message: &str) {
    let sql = format!(
        "SELECT count(*) FROM pgtq.live_logs WHERE task_id = {id} AND message = '{message}'"
    );
    scene.wait_sql(&sql, "1").await;
}

#[tokio::test]
async fn a_followed_log_has_every_line_of_every_attempt_once() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=25", "ms=100", "good=2"]);
    let following = Following::start(&scene, &["logs", &id, "-f", "--json"]);
    let mut lines = vec![following.next()];
    // It came before the attempt had ended.
    let ended = format!("SELECT count(*) FROM pgtq.attempts WHERE task_id = {id}");
    assert_eq!(scene.sql(&ended).await, "0");
    lines.extend(following.rest());
    let wanted: Vec<String> = (1..=2)
        .flat_map(|attempt| (1..=25).map(move |line| format!("attempt {attempt} says {line}")))
        .collect();
    assert_eq!(said(&lines), wanted);
    let state = format!("SELECT state FROM pgtq.tasks WHERE id = {id}");
    assert_eq!(scene.sql(&state).await, "complete");
    scene
        .wait_sql("SELECT count(*) FROM pgtq.log_lines", "0")
        .await;
    let again = scene.pgtq(&["logs", &id, "--json"]).success();
    let again: Vec<String> = again.lines().map(str::to_owned).collect();
    assert_eq!(said(&again), wanted);
    let read = scene.pgtq(&["logs", &id]).success();
    assert_eq!(read.matches("\nattempt 2\n").count(), 1, "{read}");
}

#[tokio::test]
async fn a_task_that_waits_to_be_tried_again_says_why() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=1", "ms=1", "good=99"]);
    let tried =
        format!("SELECT attempts > 0 FROM pgtq.tasks WHERE id = {id} AND state = 'scheduled'");
    scene.wait_sql(&tried, "t").await;
    let shown = scene.pgtq(&["show", &id]).success();
    let error = shown
        .lines()
        .find(|line| line.trim_start().starts_with("error"));
    assert!(
        error.is_some_and(|line| line.contains("error: ")),
        "{shown}"
    );
    assert!(shown.contains("attempt 1"), "{shown}");
}

#[tokio::test]
async fn a_stopping_runner_leaves_no_live_lines_and_short_attempts_write_none() {
    let scene = Scene::with(&["flaky"]).await;
    // Whoever writes here is counted, even if the row is gone by now.
    scene
        .sql(
            "CREATE TABLE pgtq.written (task_id bigint);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO pgtq.written VALUES (NEW.task_id); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT ON pgtq.log_lines FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let mut runner = scene.runner(&[]);
    for _ in 0..50 {
        scene
            .sql("SELECT pgtq.push('flaky.talk', '{\"lines\": 3, \"ms\": 0}')")
            .await;
    }
    let long = scene.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&scene, &long, "attempt 1 says 3").await;
    runner.interrupt();
    runner.interrupt();
    runner.wait();
    assert_eq!(
        scene.sql("SELECT DISTINCT task_id FROM written").await,
        long
    );
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.log_lines").await, "0");
    // What it said until then is stored with the released attempt.
    let log = scene.pgtq(&["logs", &long]).success();
    assert!(log.contains("attempt 1 says 3"), "{log}");
}

#[tokio::test]
async fn what_a_dead_runners_attempt_said_is_still_there() {
    let scene = Scene::with(&["flaky"]).await;
    let mut runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&scene, &id, "attempt 1 says 5").await;
    runner.kill();
    let show = || scene.pgtq(&["logs", &id]).success();
    assert!(show().contains("attempt 1 says 5"));
    scene
        .sql("UPDATE pgtq.runners SET expires_at = now() - interval '1 second'; SELECT pgtq.rescue()")
        .await;
    let log = show();
    assert!(log.contains("attempt 1 says 5"), "{log}");
    assert!(
        log.ends_with("attempt 1: the log ends here, its runner was lost"),
        "{log}"
    );
}

#[tokio::test]
async fn a_log_over_its_limit_shows_its_ends_and_the_gap() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=5000", "ms=0"]);
    scene.wait_all().await;
    let ends = format!(
        "SELECT json_array_length(logs), logs->0->>'message', logs->500->>'dropped', logs->500->>'message', \
         logs->1000->>'message', logs_dropped FROM pgtq.history WHERE id = {id}"
    );
    assert_eq!(
        scene.sql(&ends).await,
        "1001|attempt 1 says 1|4000|… 4000 lines dropped here, over the log limit|attempt 1 says 5000|4000"
    );
    let log = scene.pgtq(&["logs", &id]).success();
    assert_eq!(log.matches("dropped").count(), 1, "{log}");
}

#[tokio::test]
async fn progress_is_seen_everywhere_and_written_about_once_a_second() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    scene
        .sql(
            "CREATE TABLE pgtq.beats (at timestamptz DEFAULT clock_timestamp());
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO pgtq.beats DEFAULT VALUES; RETURN NULL; END $$;
             CREATE TRIGGER note AFTER UPDATE OF progress ON pgtq.runners FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let id = scene.push(&["flaky.crawl", "ms=4000", "rest=200000"]);
    let seen = format!("SELECT fraction, message FROM pgtq.progress WHERE task_id = {id}");
    scene.wait_sql(&seen, "0.5|half of it").await;
    let often =
        "SELECT count(*) > 1, count(*) <= 3 + extract(epoch FROM max(at) - min(at)) FROM beats";
    assert_eq!(scene.sql(often).await, "t|t");
    let listed = scene.pgtq(&["tasks", "state:running"]).success();
    assert!(listed.ends_with("50 % half of it"), "{listed}");
    let shown = scene.pgtq(&["show", &id]).success();
    assert!(shown.contains("50 % half of it"), "{shown}");
    scene.pgtq(&["cancel", &id]).success();
    scene.wait_all().await;
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.progress").await, "0");
}

/// Cancels a handler that asks whether it was, and says what became of the task.
async fn cancel_heeding(end: &str) -> String {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let end = format!("end={end}");
    let id = scene.push(&["flaky.until_cancelled", "ms=200000", &end]);
    wait_said(&scene, &id, "ready").await;
    scene.pgtq(&["cancel", &id]).success();
    scene.wait_all().await;
    let fate = "SELECT state, result, error_message, attempts FROM pgtq.tasks";
    scene.sql(fate).await
}

#[tokio::test]
async fn a_result_that_was_reached_after_a_cancel_is_kept() {
    assert_eq!(cancel_heeding("result").await, "complete|true|-|1");
}

#[tokio::test]
async fn an_error_after_a_cancel_is_the_cancel() {
    assert_eq!(
        cancel_heeding("error").await,
        "cancelled|-|cancelled while it ran: stopped half way|1"
    );
}

#[tokio::test]
async fn a_handler_that_heeds_a_cancel_and_does_not_end_is_stopped() {
    assert_eq!(
        cancel_heeding("never").await,
        "cancelled|-|cancelled while it ran|1"
    );
}

#[tokio::test]
async fn a_log_table_that_cannot_be_written_holds_up_neither_endings_nor_beats() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&scene, &id, "attempt 1 says 1").await;
    let locker = scene.database.client().await;
    let lock = "BEGIN; LOCK TABLE pgtq.log_lines IN EXCLUSIVE MODE";
    locker.batch_execute(lock).await.unwrap();
    scene
        .wait_sql(
            "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'pgtq.log_lines'::regclass AND NOT granted",
            "t",
        )
        .await;
    for _ in 0..100 {
        scene.sql("SELECT pgtq.push('flaky.until', '[1]')").await;
    }
    scene
        .wait_sql("SELECT count(*) FROM pgtq.complete", "100")
        .await;
    let seen = scene.sql("SELECT seen_at FROM pgtq.runners").await;
    let beats = format!("SELECT seen_at > '{seen}' FROM pgtq.runners");
    scene.wait_sql(&beats, "t").await;
    let newest = format!("SELECT max(seq) FROM pgtq.live_logs WHERE task_id = {id}");
    let before = scene.sql(&newest).await;
    locker.batch_execute("COMMIT").await.unwrap();
    let goes_on = format!("SELECT max(seq) > {before} FROM pgtq.live_logs WHERE task_id = {id}");
    scene.wait_sql(&goes_on, "t").await;
    // Nothing is missing between what was written before and after.
    let gaps = "SELECT count(*) FROM (SELECT seq - lag(seq) OVER (ORDER BY seq) AS step FROM pgtq.live_logs) AS s WHERE step <> 1";
    assert_eq!(scene.sql(gaps).await, "0");
}

#[tokio::test]
async fn deleting_a_task_removes_what_its_dead_attempts_said() {
    let scene = Scene::with(&["flaky"]).await;
    let mut runner = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&scene, &id, "attempt 1 says 1").await;
    runner.kill();
    scene
        .sql("UPDATE pgtq.runners SET expires_at = now() - interval '1 second'; SELECT pgtq.rescue()")
        .await;
    scene.pgtq(&["delete", &id, "--yes"]).success();
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.log_lines").await, "0");
}

/// Nobody tells such a runner: it asks.
#[tokio::test]
async fn a_runner_that_only_polls_hears_of_a_cancel_too() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&["--poll-only"]);
    let id = scene.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&scene, &id, "attempt 1 says 1").await;
    let asked = scene.sql("SELECT clock_timestamp()").await;
    scene.pgtq(&["cancel", &id]).success();
    scene.wait_all().await;
    let fate = format!("SELECT state, finished_at - '{asked}' FROM pgtq.tasks");
    let fate = scene.sql(&fate).await;
    eprintln!("state, and time from the cancel to the end: {fate}");
    assert!(fate.starts_with("cancelled"), "{fate}");
}

#[tokio::test]
#[ignore = "takes the time of a lease and more: 20 s"]
async fn a_task_that_runs_longer_than_a_lease_keeps_its_claim_and_runs_once() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let _other = scene.runner(&[]);
    let id = scene.push(&["flaky.talk", "lines=20", "ms=1000"]);
    scene.wait_all().await;
    let fate = format!("SELECT state, attempts, crashes FROM pgtq.tasks WHERE id = {id}");
    assert_eq!(scene.sql(&fate).await, "complete|1|0");
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.attempts").await, "0");
}
