//! One guest for each further abuse case, run in rounds in a separate process: its
//! resource usage must return to the starting level. `PGTQ_EVIL_ATTEMPTS=100000` sets the
//! number of attempts.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::guests::{Parts, attempt, component, handler, load, sandbox, small, source};
use crate::config::SandboxConfig;
use crate::run::sandbox::Sandbox;
use pgtq_task::{Handler, Outcome};

/// Abuse cases in `describe`, or during instantiation: such a file is rejected.
const REFUSED: [&str; 8] = [
    "describe_recurses",
    "describe_grows",
    "describe_huge",
    "describe_no_text",
    "describe_deep",
    "describe_floods",
    "describe_spins",
    "start_spins",
];
/// The first ones: the last two consume a second of fuel each.
const QUICK: usize = 6;
/// Abuse cases of an attempt.
const FAILED: [&str; 8] = [
    "realloc_spins",
    "realloc_lies",
    "deep_result",
    "nul_result",
    "strange_error",
    "monstrous_push",
    "grow_loop",
    "leak_handles",
];
/// Abuse cases that `limits` describes, for the long run.
const KNOWN: [&str; 12] = [
    "loop",
    "loop_of_calls",
    "grow_memory",
    "grow_table",
    "recurse",
    "over_result",
    "big_call",
    "flood_logs",
    "flood_pushes",
    "random_flood",
    "exit",
    "panic",
];
const ATTEMPTS: usize = 300;
/// Longer than a billion of fuel takes on a busy machine: if the clock ended an abuse
/// case first, its error text would differ.
const NO_HURRY: Duration = Duration::from_secs(3600);
const CHILD: &str = "PGTQ_EVIL_CHILD";

/// Few enough that a loop is short.
fn config() -> SandboxConfig {
    let mut config = small();
    config.defaults.fuel = 2_000_000;
    config.defaults.timeout = NO_HURRY;
    config
}

fn file(name: &str) -> Vec<u8> {
    let clocks = "
        package wasi:io@0.2.0 { interface poll { resource pollable; } }
        package wasi:clocks@0.2.0 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                type duration = u64;
                subscribe-duration: func(when: duration) -> pollable;
            }
        }";
    let mut parts = Parts::default();
    if name == "leak_handles" {
        let world = "world plugin {\n    import wasi:clocks/monotonic-clock@0.2.0;";
        parts.wit = parts.wit.replace("world plugin {", world) + clocks;
    }
    component(&source(&format!("evil/{name}")), &parts)
}

async fn refusal(sandbox: &Sandbox, file: &[u8]) -> String {
    let compiled = load(sandbox, file).await.expect("it is valid");
    let refused = compiled.probe_within(NO_HURRY).await;
    let refused = refused.expect_err("it must be refused");
    refused.to_string()
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { failure, .. } | Outcome::Fail { failure } => {
            format!("{}: {}", failure.kind.as_str(), failure.message)
        }
        other => panic!("it succeeded: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_abuse_case_fails_with_a_clear_error() {
    let mut said = String::new();
    let sandbox = sandbox(config());
    for name in REFUSED {
        let refused = refusal(&sandbox, &file(name)).await;
        writeln!(said, "{name}\n  {refused}").expect("a string");
    }
    for name in FAILED {
        let guest = handler(&sandbox, &file(name)).await;
        let mut report = guest.call(attempt("[]")).await;
        // Its host calls also cost fuel by their time: on a busy machine that ends it
        // first.
        for _ in 0..20 {
            if name != "leak_handles" || !words(&report.outcome).starts_with("fuel") {
                break;
            }
            report = guest.call(attempt("[]")).await;
        }
        writeln!(said, "{name}\n  {}", words(&report.outcome).escape_debug()).expect("a string");
        assert!(report.record.children.is_empty(), "{name}");
    }
    insta::assert_snapshot!("abuse_cases", said);
    assert_eq!(sandbox.live_instances(), Some(0));
}

/// Open files, threads and bytes of memory of this process.
fn held() -> [usize; 3] {
    let count = |what: &str| {
        let entries = fs::read_dir(format!("/proc/self/{what}"));
        entries.expect("a process sees itself").count()
    };
    let statm = fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm.split(' ').nth(1).expect("resident").parse::<usize>();
    [count("fd"), count("task"), pages.expect("a number") * 4096]
}

#[test]
fn abuse_cases_leak_no_resources() {
    let this = std::env::current_exe().expect("a test is a program");
    let output = Command::new(this)
        .args(["--exact", "tests::evil::abuse_cases_in_rounds"])
        .args(["--ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{said}", output.status);
    let figures = said.lines().find(|line| line.contains("abuse cases;"));
    eprintln!("{}", figures.expect("it tells what it measured"));
}

#[test]
#[ignore = "run by the test above, alone in its process"]
fn abuse_cases_in_rounds() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let n = std::env::var("PGTQ_EVIL_ATTEMPTS").ok();
    let n = n.map_or(ATTEMPTS, |n| {
        n.parse().expect("PGTQ_EVIL_ATTEMPTS is a number")
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let sandbox = sandbox(config());
        let mut guests: Vec<Arc<dyn Handler>> = Vec::new();
        for name in FAILED {
            guests.push(handler(&sandbox, &file(name)).await);
        }
        for name in KNOWN {
            guests.push(handler(&sandbox, &super::guests::guest(name)).await);
        }
        let mut liars = Vec::new();
        for name in &REFUSED[..QUICK] {
            liars.push(load(&sandbox, &file(name)).await.expect("it is valid"));
        }
        let turn = guests.len() + liars.len();
        let misbehave = async |times: usize| {
            for i in 0..times {
                match guests.get(i % turn) {
                    Some(guest) => drop(guest.call(attempt("[]")).await),
                    None => drop(liars[i % turn - guests.len()].probe().await),
                }
            }
        };
        // The first rounds bring the process to its steady state.
        misbehave(2 * turn).await;
        let before = held();
        misbehave(n).await;
        let after = held();
        eprintln!(
            "{n} abuse cases; files, threads and bytes held before {before:?}, after {after:?}"
        );
        assert_eq!(sandbox.live_instances(), Some(0));
        assert!(after[0] <= before[0] + 2, "files stay open");
        assert!(after[1] <= before[1] + 4, "threads stay");
        assert!(after[2] < before[2] + (64 << 20), "memory stays");
    });
}
