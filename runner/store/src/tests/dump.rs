//! The schema as `pg_dump` writes it, compared with a golden file.

use std::process::Command;

use crate::connect::config::DatabaseConfig;
use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::migrate::SCHEMA_VERSION;
use crate::verbs::migrations::FUNCTIONS;
use pgtq_setup::postgres::Programs;

/// The newest version of the schema that a release contains; 0: nothing was released yet.
const RELEASED: i32 = 0;

/// The programs whose `pg_dump` wrote the golden file: each version writes another text.
const DUMPED_BY: &str = "15.";

/// The text of `pg_dump` without what differs from run to run, and without the bodies of
/// functions, which stand in `migrations/functions`.
fn normalised(dump: &str, schema: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut body_ends = None;
    for line in dump.lines() {
        if let Some(end) = body_ends {
            if line.ends_with(end) {
                body_ends = None;
            }
            continue;
        }
        let is_noise = line.starts_with("--")
            || line.starts_with("SET ")
            || line.starts_with("SELECT pg_catalog.set_config")
            || line.starts_with('\\');
        if is_noise || (line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            continue;
        }
        if let Some(at) = line.find("AS $") {
            let quote = line[at + 3..].split_inclusive('$').take(2);
            let end = match quote.map(str::len).sum::<usize>() {
                2 => "$$;",
                _ => "$_$;",
            };
            let before = line[..at].trim_end();
            lines.extend((!before.is_empty()).then_some(before));
            lines.push("    AS ...;");
            if !line[at + 5..].ends_with(end) {
                body_ends = Some(end);
            }
            continue;
        }
        lines.push(line);
    }
    lines.join("\n").trim().replace(schema, "pgtq")
}

fn pg_dump(programs: &Programs, config: &DatabaseConfig) -> String {
    let schema = config.schema.as_str();
    let host = match config.postgres.get_hosts() {
        [tokio_postgres::config::Host::Unix(path)] => path.clone(),
        other => panic!("the private server has a socket: {other:?}"),
    };
    let output = Command::new(programs.dir.join("pg_dump"))
        .arg("--host")
        .arg(host)
        .args(["--username", config.postgres.get_user().expect("a user")])
        .args(["--dbname", config.postgres.get_dbname().expect("a name")])
        .args(["--schema-only", "--no-owner", "--no-privileges"])
        .args(["--schema", schema])
        // Partitions of days.
        .args(["--exclude-table", &format!("{schema}.history_2*")])
        .args(["--exclude-table", &format!("{schema}.attempts_2*")])
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn the_schema_is_the_golden_one() {
    let programs = Programs::find().expect("the programs of the private server");
    if !programs.version.starts_with(DUMPED_BY) || !programs.dir.join("pg_dump").exists() {
        eprintln!(
            "skipped: tests/golden/schema.sql was written by pg_dump {DUMPED_BY}*, here is {} in {}",
            programs.version,
            programs.dir.display()
        );
        return;
    }
    let store = store().await;
    let dump = pg_dump(&programs, store.config());
    golden(
        "schema.sql",
        &normalised(&dump, store.config().schema.as_str()),
    );
}

/// The order of the other files does not matter.
#[tokio::test]
async fn files_of_functions_need_no_order_but_the_views_first() {
    let programs = Programs::find().expect("the programs of the private server");
    let mut files = crate::verbs::migrations::MigrationFiles::ours();
    files.functions[1..].reverse();
    let reversed = Store::connect(config()).await.expect("connect");
    reversed.migrate_to(&files).await.expect("migrate");
    if !programs.dir.join("pg_dump").exists() {
        eprintln!("skipped: no pg_dump in {}", programs.dir.display());
        return;
    }
    let store = store().await;
    let [one, other] = [&store, &reversed].map(|store| {
        let dump = pg_dump(&programs, store.config());
        dump.lines()
            .filter(|line| !line.starts_with('\\'))
            .collect::<Vec<_>>()
            .join("\n")
            .replace(store.config().schema.as_str(), "pgtq")
    });
    assert_eq!(one, other);
}

/// A program replaces functions only in a schema of its own version or an older one. So
/// after a release, a change of functions needs a version, or it would depend on the
/// build which functions a version has.
#[test]
fn functions_change_with_a_version_of_the_schema() {
    let mut text = format!("schema version {SCHEMA_VERSION}");
    for file in FUNCTIONS {
        text += &format!("\n{} {}", file.sha256(), file.name);
    }
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/functions.txt");
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    let is_same_version = wanted.lines().next() == text.lines().next();
    assert!(
        wanted.trim_end() == text || !is_same_version || SCHEMA_VERSION > RELEASED,
        "functions changed since version {SCHEMA_VERSION} was released: add a numbered migration, which may hold only \
         its header, see migrations/README.md"
    );
    golden("functions.txt", &text);
}
