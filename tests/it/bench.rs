//! `pgtq bench` with small sizes: every workload runs, counts correctly, reports all its
//! figures and cleans up. Timings are not checked. The workloads of `pgtq-bench` are
//! tested in `tests/bench/tests`.

use std::collections::BTreeMap;

use pgtq_tests::{Database, Sql, cli, plugin_dir, program, wait_until};
use serde_json::Value;

const SMALL: &[&str] = &[
    "--repeat=1",
    "--tasks=300",
    "--seconds=1",
    "--rate=50",
    "--threads=1",
    "--slots=4",
];

/// The existing schemas of benchmarks.
fn n_left(sql: &Sql) -> String {
    sql.row("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgtq_bench%'")
}

/// Runs these workloads. Returns their figures by name, with unit and target.
fn bench(workloads: &[&str]) -> (BTreeMap<String, f64>, String) {
    let database = Database::migrated();
    let plugins = plugin_dir(&["hello"]);
    let plugins = plugins.path().to_str().expect("a path of ours is text");
    let more = ["-o", "jsonl", "--plugins", plugins];
    let url = ["--database-url", database.url()];
    let arguments = [&["bench"], workloads, SMALL, &more, &url].concat();
    let output = cli(database.url(), &arguments, "").success();
    let sql = Sql::connect(database.url());
    assert_eq!(n_left(&sql), "0");
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.tasks"), "0");
    let lines = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let (machine, figures): (Vec<Value>, Vec<Value>) =
        lines.partition(|line| line["workload"] == "machine");
    assert!(
        machine.iter().any(|fact| fact["figure"] == "fsync"),
        "{machine:?}"
    );
    let mut values = BTreeMap::new();
    let mut shape = String::new();
    for line in figures {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let (workload, figure) = (text("workload"), text("figure"));
        shape += format!(
            "{workload:<8} | {figure:<36} | {:<10} | {}",
            text("unit"),
            text("target")
        )
        .trim_end();
        shape += "\n";
        let value = line["median"].as_f64().expect("a figure has a median");
        assert!(value.is_finite(), "{line}");
        values.insert(format!("{workload}: {figure}"), value);
    }
    (values, shape)
}

#[test]
fn the_three_workloads_report_their_figures() {
    let (values, shape) = bench(&[]);
    insta::assert_snapshot!("figures", shape);
    for name in ["drain: rate", "drain: wal per task", "sandbox: attempt"] {
        assert!(values[name] > 0.0, "{name} of {values:?}");
    }
}

/// The test duplicates a row while the benchmark runs.
#[test]
fn a_duplicated_task_suppresses_every_figure() {
    let database = Database::migrated();
    let plugins = plugin_dir(&["hello"]);
    let child = program()
        .args([
            "bench",
            "drain",
            "--repeat=1",
            "--tasks=5000",
            "--database-url",
            database.url(),
            "--plugins",
        ])
        .arg(plugins.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("pgtq starts");
    let sql = Sql::connect(database.url());
    wait_until("the first task of the benchmark has ended", || {
        let schema = sql.row(
            "SELECT coalesce(min(relnamespace::regnamespace::text), 'none') FROM pg_class
             WHERE relname = 'history' AND relnamespace::regnamespace::text LIKE 'pgtq_bench%'",
        );
        schema != "none"
            && sql.row(&format!(
                "WITH one AS (
                     INSERT INTO {schema}.history
                     SELECT r.* FROM (SELECT h FROM {schema}.history AS h LIMIT 1) AS one,
                          jsonb_populate_record(one.h, jsonb_build_object('finished_at', (one.h).finished_at + interval '1 microsecond')) AS r
                     RETURNING 1)
                 SELECT count(*) FROM one"
            )) == "1"
    });
    let output = child.wait_with_output().expect("pgtq exits");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains("there are no results: expected 5000 finished tasks"),
        "{words}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(n_left(&sql), "0");
}
