//! The schema is upgraded first: under load, yielding to other transactions, and supporting the
//! previous version.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::connect::error::StoreError;
use crate::testdb::*;
use crate::verbs::migrate::SCHEMA_VERSION;
use crate::verbs::migrations::{Applied, Migration, MigrationFiles};

/// The files of a later program, with one migration more.
fn later(text: &'static str) -> MigrationFiles {
    let mut files = MigrationFiles::ours();
    files.numbered.push(Migration {
        name: "0999_later",
        text,
    });
    files
}

/// As [`later`], with other functions: `rescue` returns the same by another text.
fn later_with_functions(text: &'static str) -> MigrationFiles {
    let mut files = later(text);
    for file in &mut files.functions {
        if ["runner", "push", "views"].contains(&file.name) {
            file.text = Box::leak(format!("{}\n-- Later.\n", file.text).into_boxed_str());
        }
    }
    files
}

async fn wait_for(client: &tokio_postgres::Client, question: &str, answer: &str) {
    for _ in 0..6_000 {
        if ask(client, question).await == answer {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("timed out waiting for {answer}: {question}");
}

#[tokio::test]
async fn a_schema_upgrade_under_load_loses_no_task() {
    let store = store().await;
    let client = psql(&store).await;
    let pushed = Arc::new(AtomicU64::new(0));
    let [enough, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let mut pushes = tokio::task::JoinSet::new();
    let mut work = tokio::task::JoinSet::new();
    for n in 0..2 {
        let (enough, pushed, sql) = (Arc::clone(&enough), Arc::clone(&pushed), psql(&store).await);
        pushes.spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let push = format!(
                    "SELECT push('{}', key => '{n}-' || clock_timestamp())",
                    ["a", "popped"][n]
                );
                sql.simple_query(&push).await.expect("push");
                pushed.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut runner = TestRunner::new(&store, &["a"]).await;
        let (stop, sql) = (Arc::clone(&stop), psql(&store).await);
        work.spawn(async move {
            // As the previous program asks.
            let rescue = "SELECT tasks FROM rescue($1::boolean)";
            let rescue = sql.prepare(rescue).await.expect("prepare");
            loop {
                let was_over = stop.load(Ordering::Relaxed);
                let endings = runner.claim(20).await;
                if endings.is_empty() && was_over {
                    return;
                }
                runner
                    .store
                    .finish(runner.id, &endings, false)
                    .await
                    .expect("finish");
                runner
                    .store
                    .beat(runner.id, &Default::default())
                    .await
                    .expect("beat");
                runner.store.promote(10).await.expect("promote");
                sql.query_one(&rescue, &[&true]).await.expect("rescue");
            }
        });
    }
    // An SQL worker, on the previous version's SQL.
    let (sql, over) = (psql(&store).await, Arc::clone(&stop));
    work.spawn(async move {
        loop {
            let was_over = over.load(Ordering::Relaxed);
            let end = "SELECT count(complete(id, token)) FROM pop(handlers => '{popped}', n => 5)";
            if ask(&sql, end).await == "0" && was_over {
                return;
            }
        }
    });
    let ended = |n: u64| format!("SELECT count(*) >= {n} FROM complete");
    wait_for(&client, &ended(50), "t").await;
    let next = later_with_functions(
        "-- serves: 1\nALTER TABLE {{schema}}.runnable_tasks ADD COLUMN later integer;",
    );
    let applied = store.migrate_to(&next).await.expect("migrate");
    assert_eq!(applied.versions.len(), 1);
    assert_eq!(applied.functions, ["views", "push", "runner"]);
    let now = pushed.load(Ordering::Relaxed);
    wait_for(&client, &ended(now + 50), "t").await;
    // The last push is committed before anyone looks for it for the last time.
    for (flag, who) in [(&enough, &mut pushes), (&stop, &mut work)] {
        flag.store(true, Ordering::Relaxed);
        while let Some(done) = who.join_next().await {
            done.expect("the worker finished");
        }
    }
    let pushed = pushed.load(Ordering::Relaxed).to_string();
    assert_eq!(ask(&client, "SELECT count(*) FROM complete").await, pushed);
    assert_eq!(
        ask(&client, "SELECT count(DISTINCT id) FROM history").await,
        pushed
    );
    assert_eq!(ask(&client, "SELECT count(*) FROM claims").await, "0");
}

#[tokio::test]
async fn a_migration_blocked_by_a_long_transaction_yields_to_pushes() {
    let store = store().await;
    let client = psql(&store).await;
    let analyst = psql(&store).await;
    analyst
        .batch_execute("BEGIN; SELECT count(*) FROM runnable_tasks")
        .await
        .expect("a long transaction");
    let list =
        later("-- serves: 1\nALTER TABLE {{schema}}.runnable_tasks ADD COLUMN later integer;");
    let migrating = store.clone();
    let migration = tokio::spawn(async move { migrating.migrate_to(&list).await });
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'runnable_tasks'::regclass";
    client
        .batch_execute("SET statement_timeout = '20s'")
        .await
        .expect("set");
    for _ in 0..2 {
        wait_for(&client, waiting, "1").await;
        client
            .batch_execute("SELECT push('a')")
            .await
            .expect("push while the migration waits");
        wait_for(&client, waiting, "0").await;
    }
    assert!(!migration.is_finished(), "it tries on");
    analyst.batch_execute("COMMIT").await.expect("commit");
    let applied = migration.await.expect("no panic").expect("migrate");
    assert_eq!(applied.versions, [(SCHEMA_VERSION + 1, "later".to_owned())]);
}

#[tokio::test]
async fn a_newer_schema_states_the_oldest_supported_program() {
    let store = store().await;
    let serves = later_with_functions("-- serves: 1\n");
    store.migrate_to(&serves).await.expect("migrate");
    store.check_schema().await.expect("is served");
    // The previous program, restarted: it continues and has nothing to migrate.
    let before = store.migrate().await.expect("is served");
    assert_eq!(before, Applied::default());
    let newest = SCHEMA_VERSION + 1;
    psql(&store)
        .await
        .batch_execute(&format!(
            "UPDATE migrations SET serves = {newest} WHERE version = {newest}"
        ))
        .await
        .expect("raise the supported version");
    match store.check_schema().await {
        Err(error @ StoreError::SchemaNewer { .. }) => assert_eq!(
            error.to_string(),
            format!(
                "use the schema {:?}: it is at version {newest}, which supports programs for schema version {newest} or later, \
                 and this pgtq is for version {SCHEMA_VERSION}; update this pgtq",
                store.config().schema.as_str()
            )
        ),
        other => panic!("{other:?}"),
    }
}
