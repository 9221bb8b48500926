use std::fmt::Write;
use std::time::Duration;

use super::guests::{failure, small, survive_as};
use crate::config::Allocator;
use crate::config::SandboxConfig;
use pgtq_task::{ErrorKind, Limits};

fn with(change: impl FnOnce(&mut Limits)) -> SandboxConfig {
    let mut config = small();
    change(&mut config.defaults);
    config
}

fn little_fuel() -> SandboxConfig {
    with(|limits| limits.fuel = 20_000_000)
}

/// One guest, its limits, and the expected failure kind.
type Case = (&'static str, fn() -> SandboxConfig, ErrorKind);

const CASES: [Case; 19] = [
    ("loop", little_fuel, ErrorKind::Fuel),
    ("loop_of_calls", little_fuel, ErrorKind::Fuel),
    ("grow_memory", small, ErrorKind::Memory),
    ("grow_table", small, ErrorKind::Table),
    ("recurse", small, ErrorKind::Stack),
    (
        "big_result",
        || with(|l| l.memory = 200 << 20),
        ErrorKind::ResultSize,
    ),
    ("over_result", small, ErrorKind::ResultSize),
    ("big_error", small, ErrorKind::ResultSize),
    ("big_call", small, ErrorKind::CallSize),
    ("flood_logs", small, ErrorKind::Logs),
    ("flood_stderr", small, ErrorKind::Logs),
    ("random_flood", little_fuel, ErrorKind::Fuel),
    (
        "sleep",
        || with(|l| l.timeout = Duration::from_millis(50)),
        ErrorKind::Timeout,
    ),
    ("exit", small, ErrorKind::Exit),
    ("divide", small, ErrorKind::Trap),
    ("out_of_bounds", small, ErrorKind::Trap),
    ("bad_call", small, ErrorKind::Trap),
    ("panic", small, ErrorKind::Panic),
    ("bad_pointer", small, ErrorKind::Contract),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_misbehaviour_fails_clearly_and_the_runner_survives() {
    let mut words = String::new();
    for (name, config, kind) in CASES {
        let report = survive_as(name, config(), kind).await;
        let failure = failure(&report);
        writeln!(words, "{name}\n  {}: {}", kind.as_str(), failure.message).expect("a string");
        for frame in &failure.backtrace {
            writeln!(words, "    {frame}").expect("a string");
        }
    }
    insta::assert_snapshot!("errors", words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_on_demand_allocator_keeps_the_same_limits() {
    for (name, config, kind) in CASES {
        let config = SandboxConfig {
            allocator: Allocator::OnDemand,
            ..config()
        };
        survive_as(name, config, kind).await;
    }
}

#[tokio::test]
async fn a_loop_with_fuel_left_is_stopped_by_the_clock() {
    let config = with(|limits| {
        limits.fuel = 1_000_000_000_000;
        limits.timeout = Duration::from_millis(50);
    });
    let report = survive_as("loop", config, ErrorKind::Timeout).await;
    assert!(report.record.usage.wall >= Duration::from_millis(50));
    assert!(report.record.usage.wall < Duration::from_secs(10));
}

#[tokio::test]
async fn usage_and_logs_are_reported_for_failed_attempts() {
    let report = survive_as("grow_memory", small(), ErrorKind::Memory).await;
    let limit = Limits::default().memory;
    assert!(report.record.usage.peak_memory <= limit);
    assert!(report.record.usage.peak_memory > limit - (2 << 20));

    let report = survive_as("flood_logs", small(), ErrorKind::Logs).await;
    assert_eq!(report.record.logs.len(), 1_001);
    assert_eq!(report.record.logs[500].dropped, Some(9_000));
    assert_eq!(report.record.logs_dropped, 9_000);
}

#[tokio::test]
async fn stdout_and_stderr_become_log_lines_completely() {
    let report = survive_as("exit", small(), ErrorKind::Exit).await;
    let mut lines: Vec<String> = report
        .record
        .logs
        .iter()
        .map(|line| format!("{:?} {}", line.level, line.message))
        .collect();
    lines.sort();
    assert_eq!(lines, ["Info one", "Info two", "Warn one", "Warn two"]);
}
