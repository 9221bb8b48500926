//! Every workload with small sizes: it runs, counts correctly, reports all its figures and
//! cleans up. Timings are not checked.

use std::collections::BTreeMap;
use std::path::Path;

use pgtq_tests::{Database, Sql, cli_of, other_program, plugin_dir};
use serde_json::Value;

const SMALL: &[&str] = &[
    "--repeat=1",
    "--tasks=300",
    "--seconds=1",
    "--clients=3",
    "--rate=50",
    "--backlog=500",
    "--queues=5",
    "--swaps=2",
    "--waiting=20",
    "--files=3",
    "--threads=1",
    "--work=2000",
    "--slots=4",
];

/// Runs these workloads. Returns their figures by name, with unit and target.
fn measure(workloads: &[&str]) -> (BTreeMap<String, f64>, String) {
    let database = Database::migrated();
    let plugins = plugin_dir(&["hello", "kernels"]);
    let plugins = plugins.path().to_str().expect("a path of ours is text");
    let more = ["-o", "jsonl", "--plugins", plugins];
    let url = ["--database-url", database.url()];
    let arguments = [workloads, SMALL, &more, &url].concat();
    let program = other_program(Path::new(env!("CARGO_BIN_EXE_pgtq-bench")));
    let output = cli_of(program, database.url(), &arguments, "").success();
    let sql = Sql::connect(database.url());
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgtq_bench%'";
    assert_eq!(sql.row(left), "0");
    assert_eq!(sql.row("SELECT count(*) FROM pgtq.tasks"), "0");
    let mut values = BTreeMap::new();
    let mut shape = String::new();
    for line in output.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let (workload, figure) = (text("workload"), text("figure"));
        if workload == "machine" {
            continue;
        }
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
fn database_workloads_report_their_figures() {
    let workloads = [
        "enqueue", "push", "drain", "steady", "latency", "pinned", "backlog", "queues", "orphans",
    ];
    let (values, shape) = measure(&[&workloads[..], &["--baseline", "--pin=write"]].concat());
    insta::assert_snapshot!("database", shape);
    for name in [
        "enqueue: rate",
        "drain: rate",
        "drain: wal per task",
        "push: rate",
        "enqueue: ratio to floor",
    ] {
        assert!(values[name] > 0.0, "{name} of {values:?}");
    }
}

#[test]
fn plugin_and_process_workloads_report_their_figures() {
    let (values, shape) = measure(&["swap", "sandbox", "cpu", "io", "idle", "start"]);
    insta::assert_snapshot!("processes", shape);
    assert_eq!(values["swap: swaps"], 2.0);
    assert_eq!(values["io: waiting at once"], 20.0);
    assert_eq!(values["io: still waiting at the end"], 20.0);
    assert!(values["idle: resident, no plugin"] > 1.0);
}
