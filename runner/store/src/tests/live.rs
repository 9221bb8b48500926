//! The state of a running attempt: log lines, progress, its claim.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::read::filter::Filter;
use crate::read::live_logs::LiveLog;
use crate::testdb::*;
use crate::verbs::beat::Beat;
use pgtq_task::{ClaimId, LogLevel, LogLine, Progress, State, TaskId};

fn line(number: u64) -> (u64, LogLine) {
    let fields = r#"{"n":"\u0000"}"#.to_owned();
    let line = LogLine {
        at_ms: number * 10,
        level: LogLevel::Warn,
        message: format!("line {number}"),
        fields: serde_json::value::RawValue::from_string(fields).ok(),
        dropped: None,
    };
    (number, line)
}

fn log(claim: ClaimId, task: TaskId, numbers: std::ops::RangeInclusive<u64>) -> LiveLog {
    LiveLog {
        claim,
        task,
        lines: numbers.map(line).collect(),
        dropped: 0..0,
        now_ms: 1_000,
    }
}

/// The line numbers that a reader gets.
async fn numbers(store: &Store, task: TaskId, after: (ClaimId, u64)) -> Vec<u64> {
    let lines = store.live_logs(task, after).await.expect("read");
    lines.iter().map(|line| line.number).collect()
}

async fn expire(store: &Store, runner: &TestRunner) {
    let sql = "UPDATE runners SET expires_at = now() - interval '1 second' WHERE id = $1";
    let client = psql(store).await;
    client.execute(sql, &[&runner.id.0]).await.expect("expire");
}

#[tokio::test]
async fn lines_of_a_running_attempt_are_read_in_order_and_once() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let id = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let claim = runner.claim(1).await[0].claim;
    let pass_on = async |log: LiveLog| {
        let passed = runner.store.stream_logs(runner.id, &[log]).await;
        passed.expect("forward log lines");
    };
    pass_on(log(claim, id, 1..=2)).await;
    // Again, as after an unknown commit.
    pass_on(log(claim, id, 1..=3)).await;
    assert_eq!(numbers(&store, id, (ClaimId(0), 0)).await, [1, 2, 3]);
    assert_eq!(numbers(&store, id, (claim, 2)).await, [3]);
    let lines = store.live_logs(id, (claim, 2)).await.expect("read");
    let line = &lines[0].line;
    assert_eq!((lines[0].attempt, line.at_ms), (1, 30));
    assert_eq!((line.level, &*line.message), (LogLevel::Warn, "line 3"));
    let fields = line.fields.as_ref().map(|fields| fields.get());
    assert_eq!(fields, Some("{\"n\":\"\\ufffd\"}"));

    let dropping = LiveLog {
        dropped: 2..4,
        ..log(claim, id, 4..=5)
    };
    pass_on(dropping).await;
    assert_eq!(numbers(&store, id, (ClaimId(0), 0)).await, [1, 4, 5]);

    let client = psql(&store).await;
    let seen = "SELECT string_agg(concat_ws(' ', attempt, seq, level, message, running, now() - at < '1 minute'), ', ' ORDER BY seq)
                FROM live_logs WHERE seq > 3";
    assert_eq!(
        ask(&client, seen).await,
        "1 4 warn line 4 t t, 1 5 warn line 5 t t"
    );
    store.unstream_logs(&[(claim, id)]).await.expect("remove");
    assert!(numbers(&store, id, (ClaimId(0), 0)).await.is_empty());
}

#[tokio::test]
async fn a_runner_without_the_claim_writes_no_lines() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let other = TestRunner::new(&store, &["a"]).await;
    let id = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let claim = runner.claim(1).await[0].claim;
    let lines = [log(claim, id, 1..=1), log(claim, TaskId(999), 1..=1)];
    let passed = other.store.stream_logs(other.id, &lines).await;
    passed.expect("ignored");
    assert!(numbers(&store, id, (ClaimId(0), 0)).await.is_empty());
    let passed = runner.store.stream_logs(runner.id, &lines).await;
    passed.expect("lines of a foreign task are ignored");
    assert_eq!(numbers(&store, id, (ClaimId(0), 0)).await, [1]);

    expire(&store, &runner).await;
    store.rescue().await.expect("rescue");
    let late = [log(claim, id, 2..=2)];
    let passed = runner.store.stream_logs(runner.id, &late).await;
    passed.expect("ignored");
    assert_eq!(numbers(&store, id, (ClaimId(0), 0)).await, [1]);
}

#[tokio::test]
async fn lines_of_a_crashed_runner_are_kept_for_a_day() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let pushed = store.push(&[new_task("a"), new_task("a")]).await;
    let pushed = pushed.expect("push");
    let dead = runner.claim(1).await[0].claim;
    let logs = [log(dead, pushed[0].id, 1..=2)];
    let passed = runner.store.stream_logs(runner.id, &logs).await;
    passed.expect("forward log lines");
    expire(&store, &runner).await;
    store.rescue().await.expect("rescue");
    let client = psql(&store).await;
    let running = "SELECT string_agg(DISTINCT running::text, ' ') FROM live_logs";
    assert_eq!(ask(&client, running).await, "false");

    let mut alive = TestRunner::new(&store, &["a"]).await;
    let living = alive.claim(1).await[0].claim;
    let logs = [log(living, pushed[1].id, 1..=1)];
    let passed = alive.store.stream_logs(alive.id, &logs).await;
    passed.expect("forward log lines");
    let year = Duration::from_secs(365 * 86_400);
    store.prune(year).await.expect("prune");
    assert_eq!(ask(&client, "SELECT count(*) FROM log_lines").await, "3");
    let age = "UPDATE log_lines SET at = at - interval '25 hours'";
    client.batch_execute(age).await.expect("age");
    let pruned = store.prune(year).await.expect("prune");
    assert_eq!(pruned.rows, 2);
    let left = "SELECT string_agg(claim_id::text, ' ') FROM log_lines";
    assert_eq!(ask(&client, left).await, living.0.to_string());
}

#[tokio::test]
async fn progress_is_seen_with_the_task_while_it_runs() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let id = store.push(&[new_task("a")]).await.expect("push")[0].id;
    let endings = runner.claim(1).await;
    let half = Progress {
        fraction: 0.5,
        message: "half\0way".to_owned(),
    };
    let beat = Beat {
        progress: vec![
            (endings[0].claim, id, half),
            // Of an earlier attempt: its claim is gone.
            (
                ClaimId(999),
                TaskId(999),
                Progress {
                    fraction: 1.0,
                    message: String::new(),
                },
            ),
        ],
        ..Beat::default()
    };
    store.beat(runner.id, &beat).await.expect("beat");
    let client = psql(&store).await;
    let seen = "SELECT string_agg(concat_ws('|', task_id, fraction, message), ' ') FROM progress";
    assert_eq!(
        ask(&client, seen).await,
        format!("{id}|0.5|half\u{fffd}way")
    );
    let running = Filter {
        states: vec![State::Running],
        ..Filter::default()
    };
    let listed = store.tasks(&running).await.expect("tasks");
    let shown = store.task(id).await.expect("task").expect("there");
    for progress in [&listed[0].progress, &shown.progress] {
        assert_eq!(progress.as_ref().map(|said| said.fraction), Some(0.5));
    }
    runner
        .store
        .finish(runner.id, &endings, false)
        .await
        .expect("finish");
    assert_eq!(ask(&client, "SELECT count(*) FROM progress").await, "0");
    let shown = store.task(id).await.expect("task").expect("there");
    assert_eq!(shown.progress, None);
}

/// The fast form of the runner's own test with a handler that runs longer than a lease.
#[tokio::test]
async fn beats_alone_keep_a_claim_for_any_duration_of_its_attempt() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    let endings = runner.claim(1).await;
    let client = psql(&store).await;
    let almost = "UPDATE runners SET expires_at = now() + interval '2 seconds'";
    for _ in 0..3 {
        client.batch_execute(almost).await.expect("age");
        let reply = runner.store.beat(runner.id, &Beat::default()).await;
        assert!(reply.expect("beat").alive);
        let left = "SELECT expires_at > now() + interval '10 seconds' FROM runners";
        assert_eq!(ask(&client, left).await, "t");
        let rescued = store.rescue().await.expect("rescue");
        assert_eq!(rescued.tasks, 0);
    }
    let finished = runner.store.finish(runner.id, &endings, false).await;
    assert_eq!(finished.expect("finish"), Default::default());
}
