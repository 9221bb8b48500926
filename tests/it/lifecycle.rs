//! The lifecycle of a task, from every kind of push to every outcome.

use std::fs;

use pgtq_tests::cli;

use crate::fixture::{Fixture, start};

#[tokio::test]
async fn a_wait_prints_the_result_and_nothing_else() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let waited = fixture.pgtq(&["push", "add_numbers", "a=2", "b=3", "--wait"]);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(0), "5\n"),
        "{waited:?}"
    );
}

#[tokio::test]
async fn arguments_are_parsed_in_every_format() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let file = fixture.plugins.path().join("args.json");
    fs::write(&file, "{\"a\": 2, \"b\": 3}\n").unwrap();
    let file = format!("@{}", file.display());
    for words in [
        &["a=2", "b=3"][..],
        &["{\"a\":2,\"b\":3}"],
        &["[2,3]"],
        &[&file],
        &["-"],
    ] {
        let all = [&["push", "add_numbers", "--wait"], words].concat();
        assert_eq!(
            cli(fixture.database.url(), &all, "[2, 3]").success(),
            "5",
            "{words:?}"
        );
    }
    let batch = fixture.plugins.path().join("tasks.jsonl");
    fs::write(
        &batch,
        "{\"handler\":\"add_numbers\",\"args\":[1,1]}\n{\"handler\":\"greet\",\"queue\":\"q\"}\n",
    )
    .unwrap();
    fixture
        .pgtq(&["push", "--batch", &batch.display().to_string()])
        .success();
    fixture.wait_all().await;
    let last = "SELECT handler, queue, state FROM pgtq.tasks ORDER BY id DESC LIMIT 2";
    assert_eq!(
        fixture.sql(last).await,
        "greet|q|complete\nadd_numbers|default|complete"
    );
}

#[tokio::test]
async fn a_push_in_sql_is_transactional() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture
        .sql("BEGIN; SELECT pgtq.push('add_numbers', '[2,3]'); ROLLBACK")
        .await;
    assert_eq!(
        fixture.sql("SELECT count(*) FROM pgtq.tasks").await,
        "0",
        "{id}"
    );
    let id = fixture
        .sql("BEGIN; SELECT pgtq.push('add_numbers', '[2,3]'); COMMIT")
        .await;
    fixture.wait_all().await;
    assert_eq!(fixture.sql(&format!("SELECT pgtq.result({id})")).await, "5");
}

#[tokio::test]
async fn lower_numbers_run_earlier() {
    let fixture = Fixture::with(&["hello"]).await;
    for (priority, word) in [("5", "late"), ("-5", "early"), ("0", "middle")] {
        let name = format!("name={word}");
        fixture.push(&["greet", &name, "--priority", priority]);
    }
    let one_slot = ["--concurrency", "1", "--drain"];
    let mut runner = start(
        fixture.database.url(),
        fixture.plugins.path(),
        &one_slot,
        &[],
    );
    assert!(runner.wait().success());
    // The first claim of one slot is one task. Later claims may be larger, and are
    // ordered. The times of outcomes are the times of storing them, so they do not show
    // the order.
    let order = "SELECT string_agg(args::jsonb->>'name', ' ' ORDER BY claim_id, priority), \
        count(DISTINCT claim_id) > 1 FROM pgtq.complete";
    assert_eq!(fixture.sql(order).await, "early middle late|t");
}

#[tokio::test]
async fn a_paused_queue_waits_while_the_others_run() {
    let fixture = Fixture::with(&["hello"]).await;
    fixture.push(&["greet"]);
    fixture.pgtq(&["pause", "default"]).success();
    let _runner = fixture.runner(&[]);
    // Pushed later and run first, so the runner is active.
    fixture.push(&["greet", "--queue", "open"]);
    fixture
        .wait_sql("SELECT queue FROM pgtq.complete", "open")
        .await;
    assert_eq!(
        fixture.sql("SELECT queue FROM pgtq.runnable").await,
        "default"
    );
    fixture.pgtq(&["resume", "default"]).success();
    fixture.wait_all().await;
}

#[tokio::test]
async fn a_paused_handler_waits_while_the_others_run() {
    let fixture = Fixture::with(&["hello"]).await;
    fixture.sql("SELECT pgtq.pause(handler => 'greet')").await;
    let _runner = fixture.runner(&[]);
    fixture.push(&["greet"]);
    let sum = fixture.pgtq(&["push", "add_numbers", "[2,3]", "--wait"]);
    assert_eq!(sum.success(), "5");
    assert_eq!(
        fixture.sql("SELECT handler FROM pgtq.runnable").await,
        "greet"
    );
    fixture.sql("SELECT pgtq.resume(handler => 'greet')").await;
    fixture.wait_all().await;
}

#[tokio::test]
async fn retries_of_the_task_override_the_policy_and_snoozes_use_no_attempt() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let one = fixture.push(&["flaky.error", "--retries", "1"]);
    let policy = fixture.push(&["flaky.error"]);
    let until = fixture.push(&["flaky.until", "good=3"]);
    let fatal = fixture.push(&["flaky.fatal", "--retries", "9"]);
    let snooze = fixture.push(&["flaky.snooze", "ms=100"]);
    let cancel = fixture.push(&["flaky.cancel"]);
    let parent = fixture.push(&["flaky.push_then_fail"]);
    let children = fixture.push(&["flaky.pushes", "count=2"]);
    fixture.wait_all().await;
    for (id, wanted) in [
        (one, "failed|2"),
        (policy, "failed|3"),
        (until, "complete|3"),
        (fatal, "failed|1"),
        (snooze, "complete|1"),
        (cancel, "cancelled|1"),
    ] {
        let sql = format!("SELECT state, attempts FROM pgtq.tasks WHERE id = {id}");
        assert_eq!(
            fixture.sql(&sql).await,
            wanted,
            "{}",
            fixture.pgtq(&["show", &id]).stdout
        );
    }
    let of = |id: &str| format!("SELECT count(*) FROM pgtq.tasks WHERE parent = {id}");
    assert_eq!(fixture.sql(&of(&parent)).await, "0");
    assert_eq!(fixture.sql(&of(&children)).await, "2");
}

#[tokio::test]
async fn a_task_is_cancelled_in_every_state_and_can_be_run_again() {
    let fixture = Fixture::with(&["flaky", "hello"]).await;
    let scheduled = fixture.push(&["add_numbers", "[2,3]", "--delay", "1h"]);
    let runnable = fixture.push(&["add_numbers", "[2,3]"]);
    for id in [&scheduled, &runnable] {
        fixture.pgtq(&["cancel", id]).success();
    }
    assert_eq!(
        fixture.sql("SELECT count(*) FROM pgtq.cancelled").await,
        "2"
    );
    let _runner = fixture.runner_with_env(
        &[],
        &[
            ("PGTQ_LIMITS_FUEL", "1000G"),
            ("PGTQ_LIMITS_TIMEOUT", "10m"),
        ],
    );
    let looping = fixture.push(&["flaky.loop"]);
    fixture
        .wait_sql("SELECT count(*) FROM pgtq.running", "1")
        .await;
    fixture.pgtq(&["cancel", &looping]).success();
    fixture
        .wait_sql("SELECT count(*) FROM pgtq.cancelled", "3")
        .await;
    fixture.pgtq(&["retry", &scheduled]).success();
    assert_eq!(
        fixture.sql(&format!("SELECT pgtq.retry({runnable})")).await,
        "runnable"
    );
    fixture
        .wait_sql("SELECT count(*) FROM pgtq.complete", "2")
        .await;
    fixture.pgtq(&["delete", &scheduled, "--yes"]).success();
    assert_eq!(fixture.pgtq(&["show", &scheduled]).code, Some(3));
}

#[tokio::test]
async fn a_key_makes_one_task_of_two_pushes() {
    let fixture = Fixture::with(&[]).await;
    let first = fixture.push(&["h", "--key", "order-42"]);
    assert_eq!(fixture.push(&["h", "--key", "order-42"]), first);
    let by_sql = fixture
        .sql("SELECT pgtq.push('h', key => 'order-42')")
        .await;
    assert_eq!(by_sql, first);
    assert_eq!(fixture.sql("SELECT count(*) FROM pgtq.tasks").await, "1");
}

#[tokio::test]
async fn a_drain_exits_when_no_task_is_left_and_reports_failures() {
    let fixture = Fixture::with(&["flaky", "hello"]).await;
    let (url, plugins) = (fixture.database.url(), fixture.plugins.path());
    for _ in 0..20 {
        fixture
            .sql("SELECT pgtq.push('add_numbers', '[2,3]', queue => 'a')")
            .await;
    }
    let mut runner = start(
        url,
        plugins,
        &["--drain", "--poll-only", "--queues", "a=1,*"],
        &[],
    );
    assert_eq!(runner.wait().code(), Some(0));
    assert_eq!(
        fixture.sql("SELECT count(*) FROM pgtq.complete").await,
        "20"
    );
    fixture.push(&["flaky.fatal"]);
    let mut runner = start(url, plugins, &["--drain"], &[]);
    assert_eq!(runner.wait().code(), Some(6));
}

#[tokio::test]
async fn an_sql_worker_finishes_each_task_once() {
    let fixture = Fixture::with(&[]).await;
    for _ in 0..2 {
        fixture.push(&["mail", "--queue", "mail"]);
    }
    let popped = fixture
        .sql("SELECT id, token FROM pgtq.pop('mail', n => 2) ORDER BY id")
        .await;
    let (first, second) = popped.split_once('\n').unwrap();
    let (first, token) = first.split_once('|').unwrap();
    let (second, other) = second.split_once('|').unwrap();
    let complete = format!("SELECT pgtq.complete({first}, '{token}', '{{\"sent\": true}}')");
    let extend = format!("SELECT * FROM pgtq.extend({first}, '{token}', '2 minutes')");
    assert_eq!(fixture.sql(&extend).await, "t|f");
    assert_eq!(fixture.sql(&complete).await, "t");
    assert_eq!(
        fixture.sql(&complete).await,
        "f",
        "a task that is no longer held"
    );
    let fail = format!("SELECT pgtq.fail({second}, '{other}', 'full', fatal => true)");
    assert_eq!(fixture.sql(&fail).await, "t");
    let ends = fixture
        .sql("SELECT state, coalesce(result::text, error_message) FROM pgtq.tasks ORDER BY id")
        .await;
    assert_eq!(ends, "complete|{\"sent\": true}\nfailed|full");
}

#[tokio::test]
async fn workers_are_listed_and_doctor_reports_expired_leases() {
    let fixture = Fixture::with(&[]).await;
    let id = fixture.push(&["mail", "--queue", "mail"]);
    let pop = "SELECT id FROM pgtq.pop(queues => '{mail,sms}', worker => 'mailer')";
    assert_eq!(fixture.sql(pop).await, id);
    let listed = fixture.pgtq(&["runners"]).success();
    let row = listed.lines().find(|line| line.contains("mailer"));
    let row = row.unwrap_or_else(|| panic!("no worker in\n{listed}"));
    assert!(row.contains("worker") && row.contains("mail,sms"), "{row}");
    let found = "a lease of worker mailer expired";
    let doctor = fixture.pgtq(&["doctor"]).stdout;
    assert!(!doctor.contains(found), "{doctor}");
    fixture
        .sql("UPDATE pgtq.popped SET expires_at = now() - interval '2 minutes'")
        .await;
    let doctor = fixture.pgtq(&["doctor"]).stdout;
    assert!(
        doctor.contains(found) && doctor.contains("pgtq.tend()"),
        "{doctor}"
    );
    assert_eq!(fixture.sql("SELECT expired FROM pgtq.tend()").await, "1");
}

#[tokio::test]
async fn show_and_logs_describe_a_failure() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let id = fixture.push(&["flaky.panic"]);
    fixture.wait_all().await;
    let show = fixture.pgtq(&["show", &id]).success();
    for words in ["panic: the floor gave way", "breaks.rs", "fuel"] {
        assert!(show.contains(words), "no {words:?} in\n{show}");
    }
    let json = fixture.pgtq(&["show", &id, "--json"]).success();
    assert!(
        json.contains("backtrace") && json.contains("flaky"),
        "{json}"
    );
    let logs = fixture.pgtq(&["logs", &id]).success();
    assert!(logs.contains("about to panic"), "{logs}");
    fixture
        .pgtq(&["prune", "--older-than", "0s", "--yes"])
        .success();
}

#[tokio::test]
async fn a_waiting_task_is_replaced_by_its_key_and_a_finished_one_is_not() {
    let fixture = Fixture::with(&["hello"]).await;
    let push = |arguments: &[&str]| {
        let mut all = vec!["push", "--allow-unknown", "greet", "--key", "k"];
        all.extend(arguments);
        fixture.pgtq(&all)
    };
    let first = push(&["name=Ada", "--delay", "1h", "--key-ttl", "2d"]).success();
    let ttl = "SELECT ttl = interval '48 hours' FROM pgtq.keys";
    assert_eq!(fixture.sql(ttl).await, "t");
    let ignored = push(&["name=Eve", "--on-conflict", "ignore"]);
    let said = format!(
        "task {} already has this key and is scheduled",
        first.trim()
    );
    assert!(ignored.stderr.contains(&said), "{}", ignored.stderr);
    assert_eq!(ignored.success(), first);
    let again = push(&["name=Bob", "--on-conflict", "replace", "--delay", "0s"]).success();
    assert_eq!(first, again);
    let waiting = "SELECT string_agg(args::jsonb->>'name', ' ') FROM pgtq.tasks";
    assert_eq!(fixture.sql(waiting).await, "Bob");
    let _runner = fixture.runner(&[]);
    fixture.wait_all().await;
    for what in ["replace", "error"] {
        let late = push(&["name=Eve", "--on-conflict", what]);
        assert_eq!(late.code, Some(1), "{}", late.stderr);
        assert!(late.stderr.contains("is complete"), "{}", late.stderr);
    }
    assert_eq!(fixture.sql(waiting).await, "Bob");
}

#[tokio::test]
async fn retry_cancel_and_delete_report_a_missing_task() {
    let fixture = Fixture::with(&["hello"]).await;
    let id = fixture.push(&["greet", "name=Ada"]).trim().to_owned();
    for verb in ["retry", "cancel", "delete"] {
        let unknown = fixture.pgtq(&[verb, "999", "--yes"]);
        assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
        let expected = "there is no task 999";
        assert!(unknown.stderr.contains(expected), "{}", unknown.stderr);
        let json = fixture.pgtq(&[verb, "999", "--yes", "--json"]);
        assert_eq!(json.code, Some(3), "{}", json.stderr);
        let row = json.stdout.replace([' ', '\n'], "");
        assert!(row.contains(r#""was":null"#), "{row}");
        assert!(row.contains(r#""changed":false"#), "{row}");
    }
    let waiting = fixture.pgtq(&["retry", &id]);
    let said = format!("task {id} is already runnable");
    assert!(waiting.stderr.contains(&said), "{}", waiting.stderr);
    waiting.success();
}
