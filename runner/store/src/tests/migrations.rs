//! The schema is migrated once, regardless of which runner starts first, and reports its
//! version.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::testdb::*;
use crate::verbs::migrate::SCHEMA_VERSION;
use crate::verbs::migrations::{MIGRATIONS, Migration, MigrationFiles};

#[tokio::test]
async fn eight_runners_may_start_on_an_empty_database_at_once() {
    let config = config();
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let config = config.clone();
        starting.spawn(async move {
            let store = Store::connect(config).await.expect("connect");
            let applied = store.migrate().await.expect("migrate");
            store.check_schema().await.expect("check");
            applied.versions.len()
        });
    }
    let mut counts = starting.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 0, 0, 0, 0, SCHEMA_VERSION as usize]);
}

/// No lock that an unprivileged role may take keeps a migration waiting.
#[tokio::test]
async fn a_migration_does_not_wait_for_locks_of_unprivileged_roles() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = store.config().schema.to_string();
    let older = "DELETE FROM migrations WHERE version = (SELECT max(version) FROM migrations)";
    client.batch_execute(older).await.expect("delete");
    let stranger = psql(&store).await;
    let lock = store
        .config()
        .schema
        .render("SELECT pg_advisory_lock(hashtextextended('pgtq migrate {{schema}}', 0))");
    stranger
        .batch_execute(&format!(
            "CREATE ROLE {schema}_stranger; GRANT USAGE ON SCHEMA {schema} TO {schema}_stranger;
             SET ROLE {schema}_stranger; BEGIN; {lock}"
        ))
        .await
        .expect("a lock");
    // Planned, and so locked, though it may not be run.
    let naming = format!("DELETE FROM {schema}.migrations");
    stranger.prepare(&naming).await.expect("prepared");
    let process = ask(&stranger, "SELECT pg_backend_pid()").await;
    let held = format!(
        "SELECT count(*) FROM pg_locks WHERE relation = 'migrations'::regclass AND mode = 'RowExclusiveLock' AND pid = {process}"
    );
    assert_eq!(ask(&client, &held).await, "1");
    // The last migration's changes exist already: it gets as far as that.
    match store.migrate().await {
        Err(StoreError::Refused { .. } | StoreError::Fault { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&client, &held).await, "1");
}

#[tokio::test]
async fn a_missing_an_older_and_a_newer_schema_have_different_errors() {
    let store = Store::connect(config()).await.expect("connect");
    assert!(matches!(
        store.check_schema().await,
        Err(StoreError::SchemaMissing { .. })
    ));
    assert!(matches!(
        store.push(&[new_task("a")]).await,
        Err(StoreError::SchemaMissing { .. })
    ));
    store.migrate().await.expect("migrate");
    let client = psql(&store).await;
    client
        .batch_execute("INSERT INTO migrations VALUES (999, 'later', '', 999)")
        .await
        .expect("insert");
    assert!(matches!(
        store.check_schema().await,
        Err(StoreError::SchemaNewer { found: 999, .. })
    ));
    assert!(matches!(
        store.migrate().await,
        Err(StoreError::SchemaNewer { .. })
    ));
    // As before the first version of all, which no program has made.
    client
        .batch_execute("UPDATE migrations SET version = 0, serves = 0 WHERE version = 1; DELETE FROM migrations WHERE version > 0")
        .await
        .expect("update");
    assert!(matches!(
        store.check_schema().await,
        Err(StoreError::SchemaOlder { .. })
    ));
}

#[tokio::test]
async fn pending_sql_run_by_hand_is_the_migration() {
    let store = Store::connect(config()).await.expect("connect");
    let sql = store.pending_sql().await.expect("sql");
    let (client, connection) = store
        .config()
        .postgres
        .connect(tokio_postgres::NoTls)
        .await
        .expect("connect");
    tokio::spawn(connection);
    client.batch_execute(&sql).await.expect("run");
    store.check_schema().await.expect("check");
    assert_eq!(store.pending_sql().await.expect("sql"), "");
}

#[tokio::test]
async fn a_changed_migration_is_reported_as_drift() {
    let store = store().await;
    let drifted = async || {
        let status = store.migration_status().await.expect("status");
        status.iter().filter(|row| row.drifted).count()
    };
    assert_eq!(drifted().await, 0);
    psql(&store)
        .await
        .batch_execute("UPDATE migrations SET sha256 = 'x' WHERE version = 1")
        .await
        .expect("update");
    assert_eq!(drifted().await, 1);
}

#[tokio::test]
async fn everything_public_has_a_comment() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = &store.config().schema;
    let silent = ask(
        &client,
        &format!(
            "SELECT string_agg(what, ', ') FROM (
                SELECT p.oid::regprocedure::text AS what FROM pg_proc p
                WHERE p.pronamespace = '{schema}'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
                UNION ALL
                SELECT c.oid::regclass::text FROM pg_class c
                WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                  AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') IS NULL) AS s"
        ),
    )
    .await;
    assert_eq!(silent, "null");
}

#[tokio::test]
async fn every_function_pins_its_search_path() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = &store.config().schema;
    let loose = ask(
        &client,
        &format!(
            "SELECT string_agg(p.proname, ', ') FROM pg_proc p
             WHERE p.pronamespace = '{schema}'::regnamespace
               AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{{}}'))"
        ),
    )
    .await;
    assert_eq!(loose, "null");
}

/// A role with USAGE on the schema, as for handlers' SQL, may call no function by that alone.
/// tests/golden/rights.txt lists the functions that run with the owner's privileges.
#[tokio::test]
async fn no_function_is_public() {
    let store = store().await;
    let client = psql(&store).await;
    let schema = &store.config().schema;
    let open = ask(
        &client,
        &format!(
            "SELECT string_agg(p.proname, ', ') FROM pg_proc p WHERE p.pronamespace = '{schema}'::regnamespace
               AND has_function_privilege('public', p.oid, 'EXECUTE')"
        ),
    )
    .await;
    assert_eq!(
        open, "null",
        "end the migration with REVOKE EXECUTE ON ALL FUNCTIONS"
    );
}

#[test]
fn every_numbered_file_says_which_programs_it_serves() {
    for (version, migration) in (1..).zip(&MIGRATIONS) {
        let number: i32 = migration.name[..4].parse().expect("four digits");
        assert_eq!(number, version, "{}", migration.name);
        let serves = migration.serves();
        assert!(
            serves.is_some_and(|serves| (1..=version).contains(&serves)),
            "{}: its first lines need `-- serves: N`, see migrations/README.md",
            migration.name
        );
    }
}

#[test]
fn every_file_of_the_folder_is_on_the_list_of_the_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let names = |folder: &str| {
        let all = std::fs::read_dir(root.join(folder)).expect("a folder");
        let names = all.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".md") && name != "functions")
            .map(|name| name.trim_end_matches(".sql").to_owned())
            .collect();
        names.sort();
        names
    };
    let ours = MigrationFiles::ours();
    let numbered: Vec<_> = ours.numbered.iter().map(|one| one.name).collect();
    assert_eq!(names(""), numbered);
    for folder in names("").iter().filter(|name| root.join(name).is_dir()) {
        let whole = ours.numbered.iter().find(|one| one.name == folder);
        let parts = names(folder).into_iter().map(|name| {
            std::fs::read_to_string(root.join(folder).join(name + ".sql")).expect("a file")
        });
        assert_eq!(whole.expect("on the list").text, parts.collect::<String>());
    }
    let mut functions: Vec<_> = ours.functions.iter().map(|one| one.name).collect();
    functions.sort_unstable();
    assert_eq!(names("functions"), functions);
}

const OUTSIDE: &str = "-- Outside a transaction.
-- serves: 1
CREATE INDEX CONCURRENTLY IF NOT EXISTS later_handler ON {{schema}}.runnable_tasks (handler);
-- For each partition of history.
CREATE INDEX CONCURRENTLY IF NOT EXISTS {{partition}}_later ON {{schema}}.{{partition}} (runner_id);
CREATE INDEX IF NOT EXISTS history_later ON {{schema}}.history (runner_id);
";

#[tokio::test]
async fn a_migration_outside_a_transaction_builds_indexes_and_continues_a_killed_run() {
    let store = store().await;
    let client = psql(&store).await;
    let more = Migration {
        name: "0999_outside",
        text: OUTSIDE,
    };
    let mut list = MigrationFiles::ours();
    list.numbered.push(more);
    // An index as a killed run leaves it.
    client
        .batch_execute("SELECT push('a'), push('a')")
        .await
        .expect("push");
    let broken = "CREATE UNIQUE INDEX CONCURRENTLY later_handler ON runnable_tasks (handler)";
    client.batch_execute(broken).await.expect_err("two rows");
    let valid = "SELECT string_agg(c.relname || ' ' || i.indisvalid || ' ' || i.indisunique, ',')
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relname IN ('later_handler', 'history_later') AND c.relnamespace = current_schema()::regnamespace";
    assert_eq!(ask(&client, valid).await, "later_handler false true");

    let sql = store.pending_sql_of(&list).await.expect("sql");
    let (outside, inside) = sql.split_once("BEGIN;").expect("what records it");
    assert!(outside.contains("DROP INDEX CONCURRENTLY IF EXISTS"));
    assert!(outside.contains("history_later ON") && !inside.contains("INDEX"));
    assert!(sql.contains("history_default_later ON") && sql.contains("INSERT INTO"));

    // Tasks are pushed and end meanwhile; an open transaction delays nothing but the index.
    let mut both = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (store, list) = (store.clone(), list.clone());
        both.spawn(async move {
            store
                .migrate_to(&list)
                .await
                .expect("migrate")
                .versions
                .len()
        });
    }
    let mut counts = both.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, [0, 1]);
    let built = ask(&client, valid).await;
    assert!(
        built.contains("later_handler true false") && built.contains("history_later true false"),
        "{built}"
    );
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'history_later'::regclass";
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'history'::regclass";
    assert_eq!(ask(&client, attached).await, ask(&client, partitions).await);
    let twice = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND indexdef LIKE '%(runner_id)' AND tablename LIKE 'history_%'";
    assert_eq!(ask(&client, twice).await, ask(&client, partitions).await);
    assert_eq!(store.migrate_to(&list).await.expect("migrate").versions, []);
}
