//! The plans of the hot statements, and the data that they read.

use crate::connect::connection::Store;
use crate::connect::role::Role;
use crate::read::filter::Filter;
use crate::sql::{Sql, sql};
use crate::testdb::*;
use pgtq_task::State;

/// EXPLAIN of a statement whose parameters are replaced by literals.
pub(super) async fn explain(store: &Store, options: &str, sql: &Sql, params: &[&str]) -> String {
    let client = psql(store).await;
    client
        .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_mergejoin = off; SET jit = off")
        .await
        .expect("set");
    let mut text = store.config().schema.render(&sql.text);
    for (n, value) in params.iter().enumerate().rev() {
        text = text.replace(&format!("${}", n + 1), &format!("({value})"));
    }
    let rows = client
        .simple_query(&format!("EXPLAIN ({options}) {text}"))
        .await
        .expect("explain");
    let lines: Vec<String> = rows
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    lines
        .join("\n")
        .replace(store.config().schema.as_str(), "pgtq")
}

/// The generic plan of a statement under the settings of its connection.
async fn generic(client: &tokio_postgres::Client, store: &Store, sql: &Sql) -> String {
    let schema = &store.config().schema;
    let n_params = sql.types().count();
    let nulls = vec!["NULL"; n_params].join(", ");
    let prepare = format!(
        "DEALLOCATE ALL; PREPARE one AS {}",
        schema.render(&sql.text)
    );
    client.batch_execute(&prepare).await.expect("prepare");
    let explain = match n_params {
        0 => "EXPLAIN (COSTS OFF) EXECUTE one".to_owned(),
        _ => format!("EXPLAIN (COSTS OFF) EXECUTE one ({nulls})"),
    };
    let rows = client.simple_query(&explain).await.expect("explain");
    let lines: Vec<&str> = rows
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    lines.join("\n").replace(schema.as_str(), "pgtq")
}

const LANES: [&str; 8] = [
    "'{a,b}'",
    r#"'{""}'"#,
    r#"'{""}'"#,
    "'{-9223372036854775808}'",
    "'{~}'",
    r#"'{""}'"#,
    "'{-9223372036854775808}'",
    "10000",
];

#[tokio::test]
async fn hot_statements_have_their_golden_plans() {
    let store = store().await;
    let client = psql(&store).await;
    // Empty tables, as after a drain with fresh statistics: the worst case for the planner. Only
    // its own tables: other tests create and drop theirs meanwhile.
    let own = "SELECT string_agg(format('ANALYZE %s', oid::regclass), ';') FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition";
    let analyze = ask(&client, own).await;
    client.batch_execute(&analyze).await.expect("analyze");
    client
        .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_mergejoin = off; SET jit = off; SET plan_cache_mode = force_generic_plan")
        .await
        .expect("set");
    let mut plans = Vec::new();
    for (name, sql) in [
        ("claim", sql!("claim")),
        ("lanes", sql!("lanes")),
        ("finish_hold", sql!("finish_hold")),
        ("finish_final", sql!("finish_final")),
        ("finish_take", sql!("finish_take")),
        ("finish_return", sql!("finish_return")),
        ("finish_close", sql!("finish_close")),
        ("finish_recorded", sql!("finish_recorded")),
        ("finish_forget", sql!("finish_forget")),
        ("stragglers", sql!("stragglers")),
        ("isolate", sql!("isolate")),
        ("beat", sql!("beat")),
        ("state_save", sql!("state_save")),
        ("stream_logs", sql!("stream_logs")),
        ("unstream_logs", sql!("unstream_logs")),
    ] {
        let plan = generic(&client, &store, sql).await;
        assert!(!plan.contains("Seq Scan"), "{name}\n{plan}");
        // Partitions are named by day.
        let lines = plan.lines().filter(|line| !line.contains("_20"));
        let plan: Vec<&str> = lines.collect();
        plans.push(format!("{name}\n{}", plan.join("\n")));
    }
    // Other versions of Postgres write the same plan differently.
    let version = ask(
        &client,
        "SELECT current_setting('server_version_num')::int / 10000",
    )
    .await;
    if version == "15" {
        golden("plans.txt", &plans.join("\n\n"));
    }
}

#[tokio::test]
async fn claims_and_finishes_are_planned_once_and_not_for_each_batch() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let store = runner.store.clone();
    // The server makes five custom plans before it may use a generic one.
    for n in 0..12 {
        store.push(&vec![new_task("a"); 60]).await.expect("push");
        let endings = runner.claim_on(if n % 2 == 0 { 10 } else { 60 }).await;
        assert!(!endings.is_empty());
        store
            .finish(runner.id, &endings, false)
            .await
            .expect("finish");
    }
    let plans = Sql {
        name: None,
        text: "SELECT string_agg(name, ' ') FILTER (WHERE custom_plans > 0) AS custom, count(*) FILTER (WHERE generic_plans > 0) AS generic
               FROM pg_catalog.pg_prepared_statements"
            .into(),
    };
    for role in [Role::Claim, Role::Finish] {
        let mut lease = store.lease(role, "look at plans").await.expect("lease");
        let row = &lease.query(&plans, &[]).await.expect("plans")[0];
        assert_eq!(row.get::<_, Option<&str>>("custom"), None, "{role:?}");
        assert!(row.get::<_, i64>("generic") > 0, "{role:?}");
    }
}

#[tokio::test]
async fn a_million_tasks_of_an_unknown_handler_are_not_read() {
    let store = store().await;
    let client = psql(&store).await;
    // Ten thousand represent a million: none of them may be read.
    client
        .batch_execute(
            "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
             SELECT 'q', 'absent', n % 3, n, n, '{}' FROM generate_series(1, 10000) AS n;
             INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
             SELECT 'q', 'present', 0, n, n, '{}' FROM generate_series(10001, 10005) AS n;
             ANALYZE runnable_tasks",
        )
        .await
        .expect("fill");
    let mut runner = TestRunner::new(&store, &["present"]).await;
    let options = "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF";
    let mut params = LANES;
    params[0] = "'{present}'";
    let plan = explain(&store, options, sql!("lanes"), &params).await;
    assert!(buffers(&plan) < 60, "{plan}");
    assert_eq!(runner.claim(100).await.len(), 5);
}

/// Shared buffers touched, from the first line that contains them.
pub(super) fn buffers(plan: &str) -> u64 {
    let line = plan.lines().find(|line| line.contains("Buffers:"));
    let line = line.expect("a plan with buffers");
    line.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn completing_takes_at_most_sixteen_relation_locks() {
    let store = store().await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    let endings = runner.claim(1).await;
    // The same statement, in a transaction that stays open.
    let claim = endings[0].claim.to_string();
    let one = |value: &str| format!("'{{{value}}}'");
    let carried = ["default", "a", "0", "NULL", "now", "NULL", "NULL", "NULL"];
    let mut params: Vec<String> = vec![runner.id.to_string()];
    params.extend([one(""), one(&claim)]);
    params.extend(carried.map(one));
    params.push(r#"ARRAY['{}']"#.to_owned());
    params.extend([&claim, "1", "complete", "1"].map(one));
    params.extend(vec![one("NULL"); 6]);
    let rest = ["0", "1", "0", "now", "0", "0", "0", "0", "0", "NULL"];
    params.extend(rest.map(one));
    let mut text = store.config().schema.render(&sql!("finish_final").text);
    for (n, value) in params.iter().enumerate().rev() {
        text = text.replace(&format!("${}", n + 1), value);
    }
    let client = psql(&store).await;
    client
        .batch_execute(&format!("BEGIN; {text}"))
        .await
        .expect("finish");
    let locks =
        "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
                 AND relation NOT IN ('pg_locks'::regclass)";
    let locks: u32 = ask(&client, locks).await.parse().expect("a number");
    assert!(locks <= 16, "{locks} locks");
    client.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, "1");
}

/// Behind a pooler there are no named statements, and the parameters' types are read from the
/// statements' casts.
#[tokio::test]
async fn every_verb_works_without_named_statements() {
    let mut config = store().await.config().clone();
    config.poll_only = true;
    let store = Store::connect(config).await.expect("connect");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    runner.store = store.clone();
    let pushed = store
        .push(&[new_task("a"), new_task("a")])
        .await
        .expect("push");
    store
        .publish_handlers(runner.id, &[])
        .await
        .expect("publish");
    let endings = runner.claim(1).await;
    store
        .beat(runner.id, &Default::default())
        .await
        .expect("beat");
    store
        .finish(runner.id, &endings, true)
        .await
        .expect("finish");
    let failed = Filter {
        states: vec![State::Complete],
        handler: Some("*".into()),
        error: None,
        ..Filter::default()
    };
    assert_eq!(store.tasks(&failed).await.expect("tasks").len(), 1);
    assert_eq!(store.ids(&failed, None).await.expect("ids"), [pushed[0].id]);
    store
        .task(pushed[0].id)
        .await
        .expect("task")
        .expect("there");
    let stats = store.stats().await.expect("stats");
    assert_eq!((stats.runnable, stats.handlers[0].complete), (1, 1));
    assert_eq!(stats.ended_per_minute.iter().sum::<i64>(), 1);
    assert_eq!(store.queues().await.expect("queues")[0].runnable, 1);
    assert_eq!(store.runners().await.expect("runners")[0].state, "running");
    assert!(store.handlers().await.expect("handlers").is_empty());
    assert_eq!(store.demand(5).await.expect("demand"), 1);
    store.promote(5).await.expect("promote");
    store.rescue().await.expect("rescue");
    store.pause_queue(&name("default")).await.expect("pause");
    store.cancel(&[pushed[1].id]).await.expect("cancel");
    store.retire(runner.id).await.expect("retire");
}
