//! A task keeps its carried columns through every move.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;

use crate::connect::connection::Store;
use crate::connect::role::Role;
use crate::handler_sql::work::success;
use crate::sql::columns::List;
use crate::sql::outcomes::Outcomes;
use crate::sql::sql;
use crate::testdb::*;
use crate::tests::blame::{lose, settle, witness};
use crate::verbs::outcome_record::OutcomeRecord;
use crate::verbs::push::PushColumns;
use pgtq_task::{ErrorKind, Failure, Traits, Transition};

/// The columns of each table besides the carried ones.
const OWN: [&str; 5] = ["position", "id", "attempts", "crashes", "due_at"];

type Row = BTreeMap<String, Value>;

/// A value for a column, by its type, that is not a default.
fn value(column: &str, ty: &str) -> String {
    match ty {
        "text" => format!("'x_{column}'"),
        "integer" => "7".to_owned(),
        "bigint" => "71".to_owned(),
        "timestamp with time zone" => "'2020-02-03 04:05:06.789+00'".to_owned(),
        "json" => format!("'{{\"x\": \"{column}\"}}'"),
        "jsonb" => format!("'{{\"_{column}\": [1, \"x\"]}}'"),
        other => panic!("give a value for {column} of type {other}"),
    }
}

struct Journey {
    store: Store,
    client: Client,
    runner: TestRunner,
    /// Every carried column of a runnable task, with a value.
    columns: Vec<(String, String)>,
    kept: Row,
}

impl Journey {
    async fn new() -> Self {
        let store = store().await;
        let client = psql(&store).await;
        let columns = client
            .query(
                "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
                 WHERE attrelid = 'runnable_tasks'::regclass AND attnum > 0 AND NOT attisdropped AND NOT attname = ANY ($1)",
                &[&&OWN[..]],
            )
            .await
            .expect("columns");
        let columns = columns
            .iter()
            .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
        let columns = columns
            .map(|(name, ty)| (name.clone(), value(&name, &ty)))
            .collect();
        let mut journey = Journey {
            runner: TestRunner::new(&store, &["x_handler"]).await,
            store,
            client,
            columns,
            kept: Row::new(),
        };
        journey.make(1).await;
        journey.kept = journey.seen(1).await.1;
        assert!(
            journey.kept.values().all(|value| !value.is_null()),
            "{:?}",
            journey.kept
        );
        journey
    }

    /// A scheduled task with every column set.
    async fn make(&self, id: i64) {
        let (names, values): (Vec<_>, Vec<_>) = self.columns.iter().cloned().unzip();
        self.run(&format!(
            "INSERT INTO scheduled_tasks (id, run_at, {}) VALUES ({id}, now(), {})",
            names.join(", "),
            values.join(", ")
        ))
        .await;
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect(sql);
    }

    /// The state of a task, and its carried columns.
    async fn seen(&self, id: i64) -> (String, Row) {
        let places = "SELECT 'scheduled' AS state, to_jsonb(t)::text AS kept FROM scheduled_tasks AS t WHERE t.id = $1
             UNION ALL SELECT 'runnable', to_jsonb(t)::text FROM runnable_tasks AS t WHERE t.id = $1
             UNION ALL SELECT 'running', to_jsonb(t)::text FROM in_flight AS t WHERE t.id = $1
             UNION ALL SELECT t.state, to_jsonb(t)::text FROM history AS t WHERE t.id = $1";
        let rows = self.client.query(places, &[&id]).await.expect(places);
        assert_eq!(rows.len(), 1, "task {id} is in {} places", rows.len());
        let row: Row = serde_json::from_str(rows[0].get("kept")).expect("an object");
        let names = self.columns.iter().map(|(name, _)| name);
        let kept = names.map(|name| (name.clone(), row.get(name).cloned().unwrap_or_default()));
        (rows[0].get("state"), kept.collect())
    }

    /// Asserts that the first task exists, unchanged.
    async fn is(&self, state: &str, after: &str) {
        assert_eq!(
            self.seen(1).await,
            (state.to_owned(), self.kept.clone()),
            "after {after}"
        );
    }

    async fn does(&self, sql: &str, state: &str) {
        self.run(sql).await;
        self.is(state, sql).await;
    }

    async fn claim(&mut self) -> OutcomeRecord {
        let mut endings = self.runner.claim(1).await;
        self.is("running", "claim").await;
        endings.pop().expect("it was runnable")
    }

    async fn ends(&mut self, transition: Transition, state: &str) {
        let mut ending = self.claim().await;
        let what = format!("{transition:?}");
        ending.transition = transition;
        self.finish(&[ending]).await;
        self.is(state, &what).await;
    }

    async fn finish(&self, endings: &[OutcomeRecord]) {
        let finished = self.runner.store.finish(self.runner.id, endings, false);
        let finished = finished.await.expect("finish");
        assert!(finished.stale.is_empty() && finished.refused.is_empty());
    }

    async fn pop(&self) {
        self.does("SELECT pop('x_queue')", "running").await;
    }

    /// Calls a function for workers with the popped task.
    async fn worker(&self, call: &str, state: &str) {
        let sql = format!("SELECT {call} FROM popped AS p");
        self.does(&sql, state).await;
    }

    /// Claims the task under a new runner, which is then lost.
    async fn is_lost(&mut self, set: &str, state: &str) {
        self.runner = TestRunner::new(&self.store, &["x_handler"]).await;
        let ending = self.claim().await;
        if set.contains("started") {
            let isolate = self
                .runner
                .store
                .isolate(self.runner.id, ending.claim, ending.task.id);
            isolate.await.expect("isolate").expect("the claim is ours");
            self.is("running", "isolate").await;
        }
        lose(&self.store, &self.runner, set).await;
        self.is(state, &format!("rescue{set}")).await;
        self.runner = TestRunner::new(&self.store, &["x_handler"]).await;
    }
}

fn failure() -> Failure {
    Failure::new(ErrorKind::Error, "no")
}

#[tokio::test]
async fn every_table_of_tasks_has_the_carried_columns() {
    let journey = Journey::new().await;
    let mut names: Vec<&str> = journey.columns.iter().map(|(name, _)| &name[..]).collect();
    let mut carried = List::Carried
        .columns()
        .map(|column| column.name)
        .collect::<Vec<_>>();
    names.sort_unstable();
    carried.sort_unstable();
    assert_eq!(names, carried);
    for place in ["scheduled_tasks", "popped", "history", "in_flight"] {
        let missing = format!(
            "SELECT coalesce(string_agg(name, ' '), 'none') FROM unnest('{{{}}}'::text[]) AS name
             WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{place}'::regclass AND attname = name)",
            carried.join(",")
        );
        assert_eq!(ask(&journey.client, &missing).await, "none", "{place}");
    }
}

#[tokio::test]
async fn a_task_keeps_every_column_through_runners() {
    let mut journey = Journey::new().await;
    journey.does("SELECT promote()", "runnable").await;
    let minute = Duration::from_secs(60);
    let retry = |delay| Transition::Retry {
        delay,
        failure: failure(),
    };
    journey.ends(retry(Duration::ZERO), "runnable").await;
    journey.ends(Transition::Release, "runnable").await;
    for later in [
        retry(minute),
        Transition::Snooze { delay: minute },
        Transition::Defer { delay: minute },
    ] {
        journey.ends(later, "scheduled").await;
        journey.does("SELECT retry(1)", "runnable").await;
    }
    let ending = journey.claim().await;
    let (store, runner) = (journey.runner.store.clone(), journey.runner.id);
    let isolated = store.isolate(runner, ending.claim, ending.task.id).await;
    isolated.expect("isolate").expect("the claim is ours");
    journey.is("running", "isolate").await;
    store.retire(runner).await.expect("retire");
    journey.is("runnable", "retire").await;
    journey.runner = TestRunner::new(&journey.store, &["x_handler"]).await;
    let ending = journey.claim().await;
    let release = journey
        .runner
        .store
        .release_claim(journey.runner.id, ending.claim);
    release.await.expect("release");
    journey.is("runnable", "release of a claim").await;
    // One by INSERT, one cancelled by it, and many by COPY.
    journey
        .ends(Transition::Fail { failure: failure() }, "failed")
        .await;
    journey.does("SELECT retry(1)", "runnable").await;
    let mut ending = journey.claim().await;
    journey.run("SELECT cancel(1)").await;
    ending.transition = retry(minute);
    journey.finish(&[ending]).await;
    journey.is("cancelled", "a cancel while it ran").await;
    journey.does("SELECT retry(1)", "runnable").await;
    for id in 2..100 {
        journey.make(id).await;
    }
    journey.run("SELECT promote()").await;
    let endings = journey.runner.claim(99).await;
    assert_eq!(endings.len(), 99);
    journey.finish(&endings).await;
    journey.is("complete", "COPY").await;
}

#[tokio::test]
async fn a_task_keeps_every_column_when_its_handlers_sql_ends_it() {
    let mut journey = Journey::new().await;
    journey.run("SELECT promote()").await;
    let ending = journey.claim().await;
    let endings = [&ending];
    let outcomes = Outcomes::new(&endings);
    let children = PushColumns::new(&ending.record.children);
    let ticket: &[u8] = journey.runner.store.ticket().bytes();
    let params = success(&journey.runner.id.0, &ticket, &outcomes, &children);
    let store = &journey.runner.store;
    let rows = store.run(
        Role::CommitStatus,
        "complete",
        sql!("attempt_complete"),
        &params,
    );
    assert!(rows.await.expect("complete")[0].get::<_, bool>("held"));
    journey.is("complete", "complete_in_task").await;
}

#[tokio::test]
async fn a_task_keeps_every_column_when_its_runner_is_lost() {
    let mut journey = Journey::new().await;
    witness(&journey.store).await;
    journey.run("SELECT promote()").await;
    journey.is_lost("", "runnable").await;
    // The only suspect of a runner that may come back, and does not.
    let suspect = ", started = ARRAY[1]";
    journey.run("UPDATE runnable_tasks SET crashes = 10").await;
    journey.is_lost(suspect, "scheduled").await;
    settle(&journey.store).await;
    journey.store.rescue().await.expect("rescue");
    journey.is("failed", "count_crashes").await;
    journey.does("SELECT retry(1)", "runnable").await;
    // Of a runner that certainly crashed.
    journey.run("UPDATE runnable_tasks SET crashes = 10").await;
    let dead = format!("{suspect}, backend = 1");
    journey.is_lost(&dead, "failed").await;
    journey.does("SELECT retry(1)", "runnable").await;
    journey.claim().await;
    journey.run("SELECT cancel(1)").await;
    lose(&journey.store, &journey.runner, "").await;
    journey.is("cancelled", "rescue of a cancelled task").await;
}

#[tokio::test]
async fn a_task_keeps_every_column_through_operators() {
    let journey = Journey::new().await;
    journey.does("SELECT cancel(1)", "cancelled").await;
    journey.does("SELECT retry(1)", "runnable").await;
    journey.does("SELECT cancel(1)", "cancelled").await;
    journey.does("SELECT retry(1)", "runnable").await;
    journey
        .does("SELECT reschedule(1, delay => '1 hour')", "scheduled")
        .await;
    journey
        .does("SELECT reschedule(1, now())", "runnable")
        .await;
    // The requested change is applied, and nothing else.
    for (change, column, new) in [
        ("reprioritise(1, 3)", "priority", Value::from(3)),
        ("move(1, 'other')", "queue", Value::from("other")),
        ("edit(1, '[5]')", "args", serde_json::json!([5])),
    ] {
        let before = journey.seen(1).await.1;
        journey.run(&format!("SELECT {change}")).await;
        let mut wanted = before;
        wanted.insert(column.to_owned(), new);
        assert_eq!(journey.seen(1).await, ("runnable".to_owned(), wanted));
    }
}

#[tokio::test]
async fn a_task_keeps_every_column_through_workers() {
    let journey = Journey::new().await;
    journey.run("SELECT promote()").await;
    for (call, state) in [
        ("release(p.task_id, p.token)", "runnable"),
        ("release(p.task_id, p.token, '1 hour')", "scheduled"),
        ("fail(p.task_id, p.token, 'no', '0')", "runnable"),
        ("fail(p.task_id, p.token, 'no', '1 hour')", "scheduled"),
        ("fail(p.task_id, p.token, 'no', fatal => true)", "failed"),
    ] {
        journey.pop().await;
        journey.worker(call, state).await;
        if state != "runnable" {
            journey.does("SELECT retry(1)", "runnable").await;
        }
    }
    let expire = "UPDATE popped SET expires_at = now() - interval '1 second';
                  UPDATE upkeep SET expired_to = '-infinity'; SELECT tend()";
    journey.pop().await;
    journey.does(expire, "runnable").await;
    journey
        .run("UPDATE runnable_tasks SET attempts = 100")
        .await;
    journey.pop().await;
    journey.does(expire, "failed").await;
    journey.does("SELECT retry(1)", "runnable").await;
    journey.pop().await;
    journey.run("SELECT cancel(1)").await;
    journey
        .worker("release(p.task_id, p.token)", "cancelled")
        .await;
    journey.does("SELECT retry(1)", "runnable").await;
    journey.pop().await;
    journey
        .worker("complete(p.task_id, p.token)", "complete")
        .await;
}

#[tokio::test]
async fn a_claim_of_tasks_without_traits_has_no_array_of_them() {
    let store = store().await;
    let client = psql(&store).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store
        .push(&[new_task("a"), new_task("a"), new_task("a")])
        .await
        .expect("push");
    let set =
        "UPDATE runnable_tasks SET traits = '{\"_t\": \"00-1\", \"g\": \"acme\"}' WHERE id = 3";
    client.batch_execute(set).await.expect(set);
    let claimed = runner.claim(2).await;
    assert!(claimed.iter().all(|ending| ending.task.traits.is_none()));
    let traits = runner
        .claim(2)
        .await
        .pop()
        .expect("the third")
        .task
        .traits
        .clone();
    assert_eq!(
        traits.map(|t: Traits| t.unknown()),
        Some(vec!["g".to_owned()])
    );
    let arrays = "SELECT string_agg(coalesce(cardinality(traits)::text, 'none'), ' ' ORDER BY id) FROM claims";
    assert_eq!(ask(&client, arrays).await, "none 1");
}
