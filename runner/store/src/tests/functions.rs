//! Files of functions and views are applied again when their text has changed.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::testdb::*;
use crate::tests::roles::user;
use crate::verbs::migrations::{Applied, FunctionFile, Migration, MigrationFiles};
use crate::verbs::roles::RoleKind;

/// A program of this version that was built with another `crash_wait`.
fn build(wait: &str) -> MigrationFiles {
    let mut files = MigrationFiles::ours();
    change(&mut files, "crashes", "interval '20 seconds'", wait);
    files
}

fn change(files: &mut MigrationFiles, name: &str, from: &str, to: &str) {
    let file = files.functions.iter_mut().find(|file| file.name == name);
    let file = file.expect("on the list");
    assert!(file.text.contains(from), "{name} has {from}");
    file.text = Box::leak(file.text.replace(from, to).into_boxed_str());
}

fn next(files: &mut MigrationFiles, text: &'static str) {
    files.numbered.push(Migration {
        name: "0999_later",
        text,
    });
}

fn functions(names: &[&str]) -> Applied {
    Applied {
        functions: names.iter().map(|&name| name.to_owned()).collect(),
        ..Applied::default()
    }
}

async fn crash_wait(client: &tokio_postgres::Client) -> String {
    ask(client, "SELECT extract(epoch FROM crash_wait())::integer").await
}

async fn pending(store: &Store) -> Vec<String> {
    let all = store.migration_status().await.expect("status");
    assert!(all.iter().all(|one| !one.drifted));
    let pending = all.iter().filter(|one| one.applied_at.is_none());
    pending.map(|one| one.title()).collect()
}

#[tokio::test]
async fn a_changed_file_is_applied_again_and_alone() {
    let store = store().await;
    let client = psql(&store).await;
    assert_eq!(store.migrate().await.expect("migrate"), Applied::default());
    let other = build("interval '21 seconds'");
    let sql = store.pending_sql_of(&other).await.expect("sql");
    assert!(sql.contains("-- Functions: crashes") && !sql.contains("-- Functions: push"));
    let applied = store.migrate_to(&other).await.expect("migrate");
    assert_eq!(applied, functions(&["crashes"]));
    assert_eq!(crash_wait(&client).await, "21");
    assert_eq!(store.pending_sql_of(&other).await.expect("sql"), "");

    // This build continues, reports the difference, and replaces the file only in `migrate`.
    store.check_schema().await.expect("of the same version");
    assert_eq!(pending(&store).await, ["functions/crashes"]);
    let sql = store.pending_sql().await.expect("sql");
    client.batch_execute(&sql).await.expect("run by hand");
    assert_eq!(crash_wait(&client).await, "20");
    assert!(pending(&store).await.is_empty());
}

#[tokio::test]
async fn two_builds_of_one_version_that_migrate_at_once_both_come_to_an_end() {
    let store = store().await;
    let mut both = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        let files = build(&format!("interval '{} seconds'", 21 + n % 2));
        both.spawn(async move { store.migrate_to(&files).await.expect("migrate").functions });
    }
    let applied = both.join_all().await;
    assert!(applied.iter().all(|files| files.len() <= 1), "{applied:?}");
    let client = psql(&store).await;
    assert!(["21", "22"].contains(&crash_wait(&client).await.as_str()));
}

#[tokio::test]
async fn the_functions_of_a_newer_schema_stay() {
    let store = store().await;
    let client = psql(&store).await;
    let mut newer = build("interval '21 seconds'");
    next(&mut newer, "-- serves: 1\n");
    newer.functions.push(FunctionFile {
        name: "later",
        text: "CREATE OR REPLACE FUNCTION {{schema}}.later() RETURNS integer LANGUAGE sql AS 'SELECT 1';",
    });
    let applied = store.migrate_to(&newer).await.expect("migrate");
    assert_eq!(applied.functions, ["crashes", "later"]);
    assert_eq!(store.migrate().await.expect("served"), Applied::default());
    assert_eq!(crash_wait(&client).await, "21");
    assert_eq!(store.pending_sql().await.expect("sql"), "");
    assert!(pending(&store).await.is_empty());
    let status = store.migration_status().await.expect("status");
    assert!(status.iter().any(|one| one.name == "functions/later"));
}

#[tokio::test]
async fn functions_come_with_the_last_numbered_file() {
    let store = store().await;
    let client = psql(&store).await;
    let mut newer = build("interval '21 seconds'");
    let outside = "-- Outside a transaction.\n-- serves: 1\n
        CREATE INDEX CONCURRENTLY IF NOT EXISTS later_handler ON {{schema}}.runnable_tasks (handler);\n";
    next(&mut newer, outside);
    let sql = store.pending_sql_of(&newer).await.expect("sql");
    let (index, rest) = sql.split_once("BEGIN;").expect("a transaction");
    assert!(index.contains("CREATE INDEX") && rest.contains("-- Functions: crashes"));
    let applied = store.migrate_to(&newer).await.expect("migrate");
    assert_eq!(applied.versions.len(), 1);
    assert_eq!(applied.functions, ["crashes"]);
    assert_eq!(crash_wait(&client).await, "21");
}

#[tokio::test]
async fn a_changed_signature_begins_with_a_drop_and_its_privileges_come_back() {
    let store = store().await;
    let viewer = psql(&user(&store, RoleKind::Viewer).await).await;
    let stranger = format!("CREATE ROLE {}_stranger", store.config().schema);
    let client = psql(&store).await;
    client.batch_execute(&stranger).await.expect("a role");
    let mut newer = MigrationFiles::ours();
    next(&mut newer, "-- serves: 2\n");
    change(
        &mut newer,
        "lookup",
        "CREATE OR REPLACE FUNCTION {{schema}}.result(id bigint) RETURNS json\n",
        "DROP FUNCTION IF EXISTS {{schema}}.result(bigint);\nCREATE OR REPLACE FUNCTION {{schema}}.result(id bigint) RETURNS jsonb\n",
    );
    change(
        &mut newer,
        "lookup",
        "SELECT h.result FROM",
        "SELECT h.result::jsonb FROM",
    );
    // Without the DROP the server refuses it, and nothing has changed.
    let mut without = newer.clone();
    change(
        &mut without,
        "lookup",
        "DROP FUNCTION IF EXISTS {{schema}}.result(bigint);\n",
        "",
    );
    assert!(store.migrate_to(&without).await.is_err());
    assert!(pending(&store).await.is_empty());
    store.migrate_to(&newer).await.expect("migrate");
    ask(&viewer, "SELECT result(1)").await;
    let everybodys = format!(
        "SELECT has_function_privilege('{}_stranger', 'result(bigint)', 'EXECUTE')",
        store.config().schema
    );
    assert_eq!(ask(&client, &everybodys).await, "f");
}

#[tokio::test]
async fn a_file_that_is_gone_is_no_longer_recorded() {
    let store = store().await;
    let client = psql(&store).await;
    let mut fewer = MigrationFiles::ours();
    next(&mut fewer, "-- serves: 1\n");
    fewer.functions.pop();
    store.migrate_to(&fewer).await.expect("migrate");
    let there = "SELECT count(*) FROM function_files WHERE name = 'roles'";
    assert_eq!(ask(&client, there).await, "0");
}

#[tokio::test]
async fn a_role_that_may_not_migrate_works_on_beside_another_build() {
    let store = store().await;
    for kind in RoleKind::ALL
        .into_iter()
        .filter(|kind| *kind != RoleKind::Admin)
    {
        let user = user(&store, kind).await;
        assert_eq!(
            user.migrate().await.expect("nothing to do"),
            Applied::default()
        );
        user.check_schema().await.expect("reads the version");
        user.migration_status().await.expect("reads the list");
        let other = user.migrate_to(&build("interval '21 seconds'")).await;
        assert!(matches!(other, Err(StoreError::Denied { .. })), "{other:?}");
    }
}
