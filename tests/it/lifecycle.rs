//! A task's life, from every way in to every way out.

use std::fs;

use pgtq_tests::cli;

use crate::scene::{Scene, start};

#[tokio::test]
async fn a_wait_prints_the_result_and_nothing_else() {
    let scene = Scene::with(&["hello"]).await;
    let _runner = scene.runner(&[]);
    let waited = scene.pgtq(&["push", "add_numbers", "a=2", "b=3", "--wait"]);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(0), "5\n"),
        "{waited:?}"
    );
}

#[tokio::test]
async fn arguments_are_read_in_every_form() {
    let scene = Scene::with(&["hello"]).await;
    let _runner = scene.runner(&[]);
    let file = scene.plugins.path().join("args.json");
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
            cli(scene.database.url(), &all, "[2, 3]").success(),
            "5",
            "{words:?}"
        );
    }
    let batch = scene.plugins.path().join("tasks.jsonl");
    fs::write(
        &batch,
        "{\"handler\":\"add_numbers\",\"args\":[1,1]}\n{\"handler\":\"greet\",\"queue\":\"q\"}\n",
    )
    .unwrap();
    scene
        .pgtq(&["push", "--batch", &batch.display().to_string()])
        .success();
    scene.wait_all().await;
    let last = "SELECT handler, queue, state FROM pgtq.tasks ORDER BY id DESC LIMIT 2";
    assert_eq!(
        scene.sql(last).await,
        "greet|q|complete\nadd_numbers|default|complete"
    );
}

#[tokio::test]
async fn a_push_in_sql_lives_and_dies_with_its_transaction() {
    let scene = Scene::with(&["hello"]).await;
    let _runner = scene.runner(&[]);
    let id = scene
        .sql("BEGIN; SELECT pgtq.push('add_numbers', '[2,3]'); ROLLBACK")
        .await;
    assert_eq!(
        scene.sql("SELECT count(*) FROM pgtq.tasks").await,
        "0",
        "{id}"
    );
    let id = scene
        .sql("BEGIN; SELECT pgtq.push('add_numbers', '[2,3]'); COMMIT")
        .await;
    scene.wait_all().await;
    assert_eq!(scene.sql(&format!("SELECT pgtq.result({id})")).await, "5");
}

#[tokio::test]
async fn lower_numbers_run_earlier() {
    let scene = Scene::with(&["hello"]).await;
    for (priority, word) in [("5", "late"), ("-5", "early"), ("0", "middle")] {
        let name = format!("name={word}");
        scene.push(&["greet", &name, "--priority", priority]);
    }
    let one_slot = ["--concurrency", "1", "--drain"];
    let mut runner = start(scene.database.url(), scene.plugins.path(), &one_slot, &[]);
    assert!(runner.wait().success());
    // The first claim of one slot is one task; later ones may be more, in which
    // case the claim itself has them in order. The times of an ending are those of
    // its storing, and say nothing about the order.
    let order = "SELECT string_agg(args::jsonb->>'name', ' ' ORDER BY claim_id, priority), \
        count(DISTINCT claim_id) > 1 FROM pgtq.complete";
    assert_eq!(scene.sql(order).await, "early middle late|t");
}

#[tokio::test]
async fn a_paused_queue_waits_while_the_others_run() {
    let scene = Scene::with(&["hello"]).await;
    scene.push(&["greet"]);
    scene.pgtq(&["pause", "default"]).success();
    let _runner = scene.runner(&[]);
    // Pushed later, run first: the runner is awake.
    scene.push(&["greet", "--queue", "open"]);
    scene
        .wait_sql("SELECT queue FROM pgtq.complete", "open")
        .await;
    assert_eq!(
        scene.sql("SELECT queue FROM pgtq.runnable").await,
        "default"
    );
    scene.pgtq(&["resume", "default"]).success();
    scene.wait_all().await;
}

#[tokio::test]
async fn a_paused_handler_waits_while_the_others_run() {
    let scene = Scene::with(&["hello"]).await;
    scene.sql("SELECT pgtq.pause(handler => 'greet')").await;
    let _runner = scene.runner(&[]);
    scene.push(&["greet"]);
    let sum = scene.pgtq(&["push", "add_numbers", "[2,3]", "--wait"]);
    assert_eq!(sum.success(), "5");
    assert_eq!(
        scene.sql("SELECT handler FROM pgtq.runnable").await,
        "greet"
    );
    scene.sql("SELECT pgtq.resume(handler => 'greet')").await;
    scene.wait_all().await;
}

#[tokio::test]
async fn retries_count_from_the_task_and_snoozes_count_nothing() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let one = scene.push(&["flaky.error", "--retries", "1"]);
    let policy = scene.push(&["flaky.error"]);
    let until = scene.push(&["flaky.until", "good=3"]);
    let fatal = scene.push(&["flaky.fatal", "--retries", "9"]);
    let snooze = scene.push(&["flaky.snooze", "ms=100"]);
    let cancel = scene.push(&["flaky.cancel"]);
    let parent = scene.push(&["flaky.push_then_fail"]);
    let children = scene.push(&["flaky.pushes", "count=2"]);
    scene.wait_all().await;
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
            scene.sql(&sql).await,
            wanted,
            "{}",
            scene.pgtq(&["show", &id]).stdout
        );
    }
    let of = |id: &str| format!("SELECT count(*) FROM pgtq.tasks WHERE parent = {id}");
    assert_eq!(scene.sql(&of(&parent)).await, "0");
    assert_eq!(scene.sql(&of(&children)).await, "2");
}

#[tokio::test]
async fn a_task_is_cancelled_in_every_state_and_can_be_run_again() {
    let scene = Scene::with(&["flaky", "hello"]).await;
    let scheduled = scene.push(&["add_numbers", "[2,3]", "--delay", "1h"]);
    let runnable = scene.push(&["add_numbers", "[2,3]"]);
    for id in [&scheduled, &runnable] {
        scene.pgtq(&["cancel", id]).success();
    }
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.cancelled").await, "2");
    let _runner = scene.runner_under(
        &[],
        &[
            ("PGTQ_LIMITS_FUEL", "1000G"),
            ("PGTQ_LIMITS_TIMEOUT", "10m"),
        ],
    );
    let looping = scene.push(&["flaky.loop"]);
    scene
        .wait_sql("SELECT count(*) FROM pgtq.running", "1")
        .await;
    scene.pgtq(&["cancel", &looping]).success();
    scene
        .wait_sql("SELECT count(*) FROM pgtq.cancelled", "3")
        .await;
    scene.pgtq(&["retry", &scheduled]).success();
    assert_eq!(
        scene.sql(&format!("SELECT pgtq.retry({runnable})")).await,
        "runnable"
    );
    scene
        .wait_sql("SELECT count(*) FROM pgtq.complete", "2")
        .await;
    scene.pgtq(&["delete", &scheduled, "--yes"]).success();
    assert_eq!(scene.pgtq(&["show", &scheduled]).code, Some(3));
}

#[tokio::test]
async fn a_key_makes_one_task_of_two_pushes() {
    let scene = Scene::with(&[]).await;
    let first = scene.push(&["h", "--key", "order-42"]);
    assert_eq!(scene.push(&["h", "--key", "order-42"]), first);
    let by_sql = scene.sql("SELECT pgtq.push('h', key => 'order-42')").await;
    assert_eq!(by_sql, first);
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.tasks").await, "1");
}

#[tokio::test]
async fn a_drain_ends_when_nothing_is_left_and_tells_of_failures() {
    let scene = Scene::with(&["flaky", "hello"]).await;
    let (url, plugins) = (scene.database.url(), scene.plugins.path());
    for _ in 0..20 {
        scene
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
    assert_eq!(scene.sql("SELECT count(*) FROM pgtq.complete").await, "20");
    scene.push(&["flaky.fatal"]);
    let mut runner = start(url, plugins, &["--drain"], &[]);
    assert_eq!(runner.wait().code(), Some(6));
}

#[tokio::test]
async fn a_worker_in_sql_ends_its_tasks_once() {
    let scene = Scene::with(&[]).await;
    for _ in 0..2 {
        scene.push(&["mail", "--queue", "mail"]);
    }
    let popped = scene
        .sql("SELECT id, token FROM pgtq.pop('mail', n => 2) ORDER BY id")
        .await;
    let (first, second) = popped.split_once('\n').unwrap();
    let (first, token) = first.split_once('|').unwrap();
    let (second, other) = second.split_once('|').unwrap();
    let complete = format!("SELECT pgtq.complete({first}, '{token}', '{{\"sent\": true}}')");
    let extend = format!("SELECT * FROM pgtq.extend({first}, '{token}', '2 minutes')");
    assert_eq!(scene.sql(&extend).await, "t|f");
    assert_eq!(scene.sql(&complete).await, "t");
    assert_eq!(
        scene.sql(&complete).await,
        "f",
        "a task that is no longer held"
    );
    let fail = format!("SELECT pgtq.fail({second}, '{other}', 'full', fatal => true)");
    assert_eq!(scene.sql(&fail).await, "t");
    let ends = scene
        .sql("SELECT state, coalesce(result::text, error_message) FROM pgtq.tasks ORDER BY id")
        .await;
    assert_eq!(ends, "complete|{\"sent\": true}\nfailed|full");
}

#[tokio::test]
async fn workers_are_listed_and_doctor_names_leases_that_nobody_takes_back() {
    let scene = Scene::with(&[]).await;
    let id = scene.push(&["mail", "--queue", "mail"]);
    let pop = "SELECT id FROM pgtq.pop(queues => '{mail,sms}', worker => 'mailer')";
    assert_eq!(scene.sql(pop).await, id);
    let listed = scene.pgtq(&["runners"]).success();
    let row = listed.lines().find(|line| line.contains("mailer"));
    let row = row.unwrap_or_else(|| panic!("no worker in\n{listed}"));
    assert!(row.contains("worker") && row.contains("mail,sms"), "{row}");
    let found = "a lease of worker mailer expired";
    let doctor = scene.pgtq(&["doctor"]).stdout;
    assert!(!doctor.contains(found), "{doctor}");
    scene
        .sql("UPDATE pgtq.popped SET expires_at = now() - interval '2 minutes'")
        .await;
    let doctor = scene.pgtq(&["doctor"]).stdout;
    assert!(
        doctor.contains(found) && doctor.contains("pgtq.tend()"),
        "{doctor}"
    );
    assert_eq!(scene.sql("SELECT expired FROM pgtq.tend()").await, "1");
}

#[tokio::test]
async fn show_and_logs_tell_the_whole_story_of_a_failure() {
    let scene = Scene::with(&["flaky"]).await;
    let _runner = scene.runner(&[]);
    let id = scene.push(&["flaky.panic"]);
    scene.wait_all().await;
    let show = scene.pgtq(&["show", &id]).success();
    for words in ["panic: the floor gave way", "breaks.rs", "fuel"] {
        assert!(show.contains(words), "no {words:?} in\n{show}");
    }
    let json = scene.pgtq(&["show", &id, "--json"]).success();
    assert!(
        json.contains("backtrace") && json.contains("flaky"),
        "{json}"
    );
    let logs = scene.pgtq(&["logs", &id]).success();
    assert!(logs.contains("about to panic"), "{logs}");
    scene
        .pgtq(&["prune", "--older-than", "0s", "--yes"])
        .success();
}

#[tokio::test]
async fn a_waiting_task_is_replaced_by_its_key_and_an_ended_one_is_not() {
    let scene = Scene::with(&["hello"]).await;
    let push = |arguments: &[&str]| {
        let mut all = vec!["push", "--allow-unknown", "greet", "--key", "k"];
        all.extend(arguments);
        scene.pgtq(&all)
    };
    let first = push(&["name=Ada", "--delay", "1h", "--key-ttl", "2d"]).success();
    let ttl = "SELECT ttl = interval '48 hours' FROM pgtq.keys";
    assert_eq!(scene.sql(ttl).await, "t");
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
    assert_eq!(scene.sql(waiting).await, "Bob");
    let _runner = scene.runner(&[]);
    scene.wait_all().await;
    for what in ["replace", "error"] {
        let late = push(&["name=Eve", "--on-conflict", what]);
        assert_eq!(late.code, Some(1), "{}", late.stderr);
        assert!(late.stderr.contains("is complete"), "{}", late.stderr);
    }
    assert_eq!(scene.sql(waiting).await, "Bob");
}

#[tokio::test]
async fn retry_cancel_and_delete_say_that_a_task_does_not_exist() {
    let scene = Scene::with(&["hello"]).await;
    let id = scene.push(&["greet", "name=Ada"]).trim().to_owned();
    for verb in ["retry", "cancel", "delete"] {
        let unknown = scene.pgtq(&[verb, "999", "--yes"]);
        assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
        let said = "there is no task 999";
        assert!(unknown.stderr.contains(said), "{}", unknown.stderr);
        let json = scene.pgtq(&[verb, "999", "--yes", "--json"]);
        assert_eq!(json.code, Some(3), "{}", json.stderr);
        let row = json.stdout.replace([' ', '\n'], "");
        assert!(row.contains(r#""was":null"#), "{row}");
        assert!(row.contains(r#""changed":false"#), "{row}");
    }
    let waiting = scene.pgtq(&["retry", &id]);
    let said = format!("task {id} is already runnable");
    assert!(waiting.stderr.contains(&said), "{}", waiting.stderr);
    waiting.success();
}
