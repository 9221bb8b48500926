//! Running tasks: live logs, progress and cancellation.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};

use pgtq_tests::{PATIENCE, program, wait_until};

use crate::fixture::Fixture;

/// A running `pgtq` process, read line by line. Dropping it kills it.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(fixture: &Fixture, arguments: &[&str]) -> Self {
        let mut child = program()
            .args(arguments)
            .env("PGTQ_DATABASE_URL", fixture.database.url())
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

    /// All further lines, until it exits.
    #[track_caller]
    fn rest(mut self) -> Vec<String> {
        wait_until("pgtq exits", || {
            self.child
                .try_wait()
                .expect("the child can be polled")
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

/// The messages of a log in JSON Lines format.
fn messages(lines: &[String]) -> Vec<String> {
    let message = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["line"]["message"].as_str().expect("text").to_owned()
    };
    lines.iter().map(message).collect()
}

/// Waits until the task's handler has logged a message.
async fn wait_said(fixture: &Fixture, id: &str, message: &str) {
    let sql = format!(
        "SELECT count(*) FROM pgtq.live_logs WHERE task_id = {id} AND message = '{message}'"
    );
    fixture.wait_sql(&sql, "1").await;
}

#[tokio::test]
async fn a_followed_log_has_every_line_of_every_attempt_once() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=25", "ms=100", "good=2"]);
    let following = Following::start(&fixture, &["logs", &id, "-f", "--json"]);
    let mut lines = vec![following.next()];
    // It arrived while the attempt was running.
    let ended = format!("SELECT count(*) FROM pgtq.attempts WHERE task_id = {id}");
    assert_eq!(fixture.sql(&ended).await, "0");
    lines.extend(following.rest());
    let wanted: Vec<String> = (1..=2)
        .flat_map(|attempt| (1..=25).map(move |line| format!("attempt {attempt} says {line}")))
        .collect();
    assert_eq!(messages(&lines), wanted);
    let state = format!("SELECT state FROM pgtq.tasks WHERE id = {id}");
    assert_eq!(fixture.sql(&state).await, "complete");
    fixture
        .wait_sql("SELECT count(*) FROM pgtq.log_lines", "0")
        .await;
    let again = fixture.pgtq(&["logs", &id, "--json"]).success();
    let again: Vec<String> = again.lines().map(str::to_owned).collect();
    assert_eq!(messages(&again), wanted);
    let read = fixture.pgtq(&["logs", &id]).success();
    assert_eq!(read.matches("\nattempt 2\n").count(), 1, "{read}");
}

#[tokio::test]
async fn a_task_waiting_for_a_retry_shows_its_last_error() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=1", "ms=1", "good=99"]);
    let tried =
        format!("SELECT attempts > 0 FROM pgtq.tasks WHERE id = {id} AND state = 'scheduled'");
    fixture.wait_sql(&tried, "t").await;
    let shown = fixture.pgtq(&["show", &id]).success();
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
    let fixture = Fixture::with(&["flaky"]).await;
    // Counts all writes, including rows deleted since.
    fixture
        .sql(
            "CREATE TABLE pgtq.written (task_id bigint);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO pgtq.written VALUES (NEW.task_id); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT ON pgtq.log_lines FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let mut runner = fixture.runner(&[]);
    for _ in 0..50 {
        fixture
            .sql("SELECT pgtq.push('flaky.talk', '{\"lines\": 3, \"ms\": 0}')")
            .await;
    }
    let long = fixture.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&fixture, &long, "attempt 1 says 3").await;
    runner.interrupt();
    runner.interrupt();
    runner.wait();
    assert_eq!(
        fixture.sql("SELECT DISTINCT task_id FROM written").await,
        long
    );
    assert_eq!(
        fixture.sql("SELECT count(*) FROM pgtq.log_lines").await,
        "0"
    );
    // Its lines are stored with the released attempt.
    let log = fixture.pgtq(&["logs", &long]).success();
    assert!(log.contains("attempt 1 says 3"), "{log}");
}

#[tokio::test]
async fn log_lines_of_a_crashed_runner_are_kept() {
    let fixture = Fixture::with(&["flaky"]).await;
    let mut runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&fixture, &id, "attempt 1 says 5").await;
    runner.kill();
    let show = || fixture.pgtq(&["logs", &id]).success();
    assert!(show().contains("attempt 1 says 5"));
    fixture
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
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=5000", "ms=0"]);
    fixture.wait_all().await;
    let ends = format!(
        "SELECT json_array_length(logs), logs->0->>'message', logs->500->>'dropped', logs->500->>'message', \
         logs->1000->>'message', logs_dropped FROM pgtq.history WHERE id = {id}"
    );
    assert_eq!(
        fixture.sql(&ends).await,
        "1001|attempt 1 says 1|4000|… 4000 lines dropped here, over the log limit|attempt 1 says 5000|4000"
    );
    let log = fixture.pgtq(&["logs", &id]).success();
    assert_eq!(log.matches("dropped").count(), 1, "{log}");
}

#[tokio::test]
async fn progress_is_shown_and_written_about_once_a_second() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    fixture
        .sql(
            "CREATE TABLE pgtq.beats (at timestamptz DEFAULT clock_timestamp());
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO pgtq.beats DEFAULT VALUES; RETURN NULL; END $$;
             CREATE TRIGGER note AFTER UPDATE OF progress ON pgtq.runners FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let id = fixture.push(&["flaky.crawl", "ms=4000", "rest=200000"]);
    let seen = format!("SELECT fraction, message FROM pgtq.progress WHERE task_id = {id}");
    fixture.wait_sql(&seen, "0.5|half of it").await;
    let often =
        "SELECT count(*) > 1, count(*) <= 3 + extract(epoch FROM max(at) - min(at)) FROM beats";
    assert_eq!(fixture.sql(often).await, "t|t");
    let listed = fixture.pgtq(&["tasks", "state:running"]).success();
    assert!(listed.ends_with("50 % half of it"), "{listed}");
    let shown = fixture.pgtq(&["show", &id]).success();
    assert!(shown.contains("50 % half of it"), "{shown}");
    fixture.pgtq(&["cancel", &id]).success();
    fixture.wait_all().await;
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.progress").await, "0");
}

/// Cancels a handler that checks for cancellation, and returns the outcome of the task.
async fn cancel_cooperative(end: &str) -> String {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let end = format!("end={end}");
    let id = fixture.push(&["flaky.until_cancelled", "ms=200000", &end]);
    wait_said(&fixture, &id, "ready").await;
    fixture.pgtq(&["cancel", &id]).success();
    fixture.wait_all().await;
    let fate = "SELECT state, result, error_message, attempts FROM pgtq.tasks";
    fixture.sql(fate).await
}

#[tokio::test]
async fn a_result_after_a_cancel_is_kept() {
    assert_eq!(cancel_cooperative("result").await, "complete|true|-|1");
}

#[tokio::test]
async fn an_error_after_a_cancel_cancels_the_task() {
    assert_eq!(
        cancel_cooperative("error").await,
        "cancelled|-|cancelled while it ran: stopped half way|1"
    );
}

#[tokio::test]
async fn a_cooperative_handler_that_does_not_return_is_stopped() {
    assert_eq!(
        cancel_cooperative("never").await,
        "cancelled|-|cancelled while it ran|1"
    );
}

#[tokio::test]
async fn an_unwritable_log_table_delays_no_outcome_or_heartbeat() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&fixture, &id, "attempt 1 says 1").await;
    let locker = fixture.database.client().await;
    let lock = "BEGIN; LOCK TABLE pgtq.log_lines IN EXCLUSIVE MODE";
    locker.batch_execute(lock).await.unwrap();
    fixture
        .wait_sql(
            "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'pgtq.log_lines'::regclass AND NOT granted",
            "t",
        )
        .await;
    for _ in 0..100 {
        fixture.sql("SELECT pgtq.push('flaky.until', '[1]')").await;
    }
    fixture
        .wait_sql("SELECT count(*) FROM pgtq.complete", "100")
        .await;
    let seen = fixture.sql("SELECT seen_at FROM pgtq.runners").await;
    let beats = format!("SELECT seen_at > '{seen}' FROM pgtq.runners");
    fixture.wait_sql(&beats, "t").await;
    let newest = format!("SELECT max(seq) FROM pgtq.live_logs WHERE task_id = {id}");
    let before = fixture.sql(&newest).await;
    locker.batch_execute("COMMIT").await.unwrap();
    let goes_on = format!("SELECT max(seq) > {before} FROM pgtq.live_logs WHERE task_id = {id}");
    fixture.wait_sql(&goes_on, "t").await;
    // No line is missing between the lines before and after.
    let gaps = "SELECT count(*) FROM (SELECT seq - lag(seq) OVER (ORDER BY seq) AS step FROM pgtq.live_logs) AS s WHERE step <> 1";
    assert_eq!(fixture.sql(gaps).await, "0");
}

#[tokio::test]
async fn deleting_a_task_removes_log_lines_of_crashed_attempts() {
    let fixture = Fixture::with(&["flaky"]).await;
    let mut runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&fixture, &id, "attempt 1 says 1").await;
    runner.kill();
    fixture
        .sql("UPDATE pgtq.runners SET expires_at = now() - interval '1 second'; SELECT pgtq.rescue()")
        .await;
    fixture.pgtq(&["delete", &id, "--yes"]).success();
    assert_eq!(
        fixture.sql("SELECT count(*) FROM pgtq.log_lines").await,
        "0"
    );
}

/// A polling runner gets no notification.
#[tokio::test]
async fn a_polling_runner_sees_a_cancel() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&["--poll-only"]);
    let id = fixture.push(&["flaky.talk", "lines=100000", "ms=20"]);
    wait_said(&fixture, &id, "attempt 1 says 1").await;
    let asked = fixture.sql("SELECT clock_timestamp()").await;
    fixture.pgtq(&["cancel", &id]).success();
    fixture.wait_all().await;
    let fate = format!("SELECT state, finished_at - '{asked}' FROM pgtq.tasks");
    let fate = fixture.sql(&fate).await;
    eprintln!("state, and time from the cancel to the end: {fate}");
    assert!(fate.starts_with("cancelled"), "{fate}");
}

#[tokio::test]
#[ignore = "takes the time of a lease and more: 20 s"]
async fn a_task_that_runs_longer_than_a_lease_keeps_its_claim_and_runs_once() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let _other = fixture.runner(&[]);
    let id = fixture.push(&["flaky.talk", "lines=20", "ms=1000"]);
    fixture.wait_all().await;
    let fate = format!("SELECT state, attempts, crashes FROM pgtq.tasks WHERE id = {id}");
    assert_eq!(fixture.sql(&fate).await, "complete|1|0");
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.attempts").await, "0");
}
