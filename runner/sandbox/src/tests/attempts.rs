use std::sync::Arc;
use std::time::Duration;

use super::guests::{
    Parts, attempt, component, failure, guest, handler, load, sandbox, small, source, survive,
};
use crate::config::Allocator;
use crate::config::SandboxConfig;
use crate::engine_version;
use pgtq_task::{
    ErrorKind, LimitRequest, LogLevel, LogPageLimit, Name, Outcome, Progress, Retries, StopReason,
    TaskId,
};

fn complete(result: &str) -> Outcome {
    Outcome::Complete {
        result: result.to_owned(),
    }
}

#[tokio::test]
async fn a_result_comes_back_as_it_was_written() {
    for args in ["[1, 2]", r#"{"a":"\u0000é"}"#, "1e400", "null"] {
        let report = survive("echo", args, small()).await;
        assert_eq!(report.outcome, complete(args));
        assert!(report.record.usage.fuel > 0 && report.record.usage.peak_memory >= 2 << 16);
    }
}

#[tokio::test]
async fn a_result_that_readers_cannot_parse_is_rejected() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for args in ["", "{", "NaN", "[1] x", deep.as_str()] {
        let report = survive("echo", args, small()).await;
        assert_eq!(failure(&report).kind, ErrorKind::ResultJson);
        assert!(failure(&report).message.len() < 500);
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_breaks_the_contract() {
    let report = survive("bad_text", "[]", small()).await;
    assert_eq!(failure(&report).kind, ErrorKind::Contract);
}

#[tokio::test]
async fn a_failure_has_the_outcome_it_requests() {
    let delay = Duration::from_millis(1_500);
    let report = survive("failure", "0no luck", small()).await;
    assert_eq!(failure(&report).message, "no luck");
    assert!(matches!(report.outcome, Outcome::Retry { after: Some(after), .. } if after == delay));
    let report = survive("failure", "1no", small()).await;
    assert!(
        matches!(report.outcome, Outcome::Fail { failure } if failure.kind == ErrorKind::Error)
    );
    let report = survive("failure", "2", small()).await;
    assert_eq!(report.outcome, Outcome::Snooze { after: delay });
    let report = survive("failure", "3why", small()).await;
    assert_eq!(
        report.outcome,
        Outcome::Cancel {
            reason: "why".into()
        }
    );
    let report = survive("failure", "4unknown verdict", small()).await;
    assert_eq!(failure(&report).kind, ErrorKind::Contract);
    let report = survive("snooze_without_delay", "", small()).await;
    assert_eq!(failure(&report).kind, ErrorKind::Contract);
}

#[tokio::test]
async fn nothing_survives_from_one_attempt_to_the_next() {
    for allocator in [Allocator::Pooling, Allocator::OnDemand] {
        let sandbox = sandbox(SandboxConfig {
            allocator,
            slots: 1,
            ..small()
        });
        let count = handler(&sandbox, &guest("count")).await;
        for _ in 0..50 {
            assert_eq!(count.call(attempt("[]")).await.outcome, complete("1"));
        }
    }
}

#[tokio::test]
async fn a_log_line_and_the_last_progress_outlive_a_trap() {
    let sandbox = sandbox(small());
    let log = handler(&sandbox, &guest("log_once")).await;
    let attempt = attempt("a line\nand \u{1b}more");
    let report = log.call(attempt.clone()).await;
    assert_eq!(failure(&report).kind, ErrorKind::Trap);
    let line = &report.record.logs[0];
    assert_eq!(
        (line.level, line.message.as_str()),
        (LogLevel::Warn, "a line and more")
    );
    assert_eq!(line.fields.as_ref().map(|f| f.get()), Some(r#"{"n":1}"#));
    let progress = attempt.signal.take_progress();
    assert_eq!(
        progress,
        Some(Progress {
            fraction: 0.5,
            message: "half".into()
        })
    );
}

#[tokio::test]
async fn a_guest_can_read_the_facts_of_its_task() {
    // Id 7 and attempt 1.
    assert_eq!(survive("facts", "[]", small()).await.outcome, complete("8"));
}

#[tokio::test]
async fn children_are_collected_and_a_flood_is_rejected() {
    let options = r#"{"queue":"mail","priority":3,"retries":2,"key":"k"}"#;
    let report = survive("push_once", options, small()).await;
    assert_eq!(report.outcome, complete("true"));
    let child = &report.record.children[0];
    assert_eq!(
        (child.handler.as_str(), child.args.as_str()),
        ("child", "[1]")
    );
    assert_eq!(
        (child.priority, child.retries),
        (3, Some(Retries::Limited(2)))
    );
    assert_eq!(child.parent, Some(TaskId(7)));

    let report = survive("push_once", r#"{"queue":"a b"}"#, small()).await;
    assert!(
        matches!(report.outcome, Outcome::Fail { failure } if failure.message.contains("queue"))
    );

    let report = survive("flood_lanes", "", small()).await;
    assert_eq!(report.record.children.len(), 100);
    assert!(
        matches!(report.outcome, Outcome::Fail { failure } if failure.message.contains("100 lanes"))
    );

    let report = survive("flood_pushes", "", small()).await;
    assert_eq!(report.record.children.len(), 1_000);
    assert!(
        matches!(report.outcome, Outcome::Fail { failure } if failure.message.contains("limit"))
    );
}

#[tokio::test]
async fn an_attempt_ends_when_it_is_stopped() {
    let sandbox = sandbox(small());
    for name in ["loop", "sleep", "loop_of_calls"] {
        let stuck = handler(&sandbox, &guest(name)).await;
        for (stop, outcome) in [
            (
                StopReason::Cancel,
                Outcome::Cancel {
                    reason: "cancelled while it ran".into(),
                },
            ),
            (StopReason::Interrupt, Outcome::Release),
            (StopReason::Lost, Outcome::Release),
        ] {
            let attempt = attempt("[]");
            let signal = Arc::clone(&attempt.signal);
            let running = tokio::spawn(stuck.call(attempt));
            tokio::task::yield_now().await;
            signal.stop(stop);
            let report = running.await.expect("no panic");
            assert_eq!(report.outcome, outcome, "{name}");
        }
    }
    assert_eq!(sandbox.live_instances(), Some(0));
}

#[tokio::test]
async fn a_cooperative_handler_ends_by_itself_when_cancelled() {
    let sandbox = sandbox(small());
    let polling = handler(&sandbox, &guest("poll_cancelled")).await;
    for args in ["0", "1"] {
        let attempt = attempt(args);
        let signal = Arc::clone(&attempt.signal);
        let running = tokio::spawn(polling.call(attempt));
        while !signal.polls_cancelled() && !running.is_finished() {
            tokio::task::yield_now().await;
        }
        signal.stop(StopReason::Cancel);
        let report = running.await.expect("no panic");
        match args {
            "0" => assert_eq!(report.outcome, complete("\"tidy\"")),
            _ => assert_eq!(failure(&report).message, "stopped half way"),
        }
    }
}

#[tokio::test]
async fn a_grace_after_a_cancel_ends_with_the_deadline() {
    let mut config = small();
    config.defaults.timeout = Duration::from_millis(100);
    let sandbox = sandbox(config);
    let deaf = handler(&sandbox, &guest("sleep")).await;
    let attempt = attempt("[]");
    attempt.signal.stop(StopReason::Cancel);
    attempt.signal.poll_cancelled();
    let report = deaf.call(attempt).await;
    assert_eq!(failure(&report).kind, ErrorKind::Timeout);
}

#[tokio::test]
async fn the_log_of_a_running_attempt_can_be_read() {
    let sandbox = sandbox(small());
    let log = handler(&sandbox, &guest("log_then_wait")).await;
    let attempt = attempt("so far");
    let signal = Arc::clone(&attempt.signal);
    let running = tokio::spawn(log.call(attempt));
    let room = LogPageLimit {
        lines: 10,
        bytes: 1_000,
    };
    let line = loop {
        let page = signal.log().map(|log| log.after(0, room));
        match page.and_then(|page| page.lines.into_iter().next()) {
            Some(line) => break line,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((line.0, line.1.message.as_str()), (1, "so far"));
    signal.stop(StopReason::Cancel);
    assert_eq!(running.await.expect("no panic").record.logs.len(), 1);
}

#[tokio::test]
async fn a_dropped_attempt_releases_its_slot() {
    let sandbox = sandbox(SandboxConfig {
        slots: 1,
        ..small()
    });
    let stuck = handler(&sandbox, &guest("sleep")).await;
    let echo = handler(&sandbox, &guest("echo")).await;
    for _ in 0..10 {
        let call = stuck.call(attempt("[]"));
        assert!(futures_util::FutureExt::now_or_never(call).is_none());
        assert_eq!(echo.call(attempt("[]")).await.outcome, complete("[]"));
    }
    assert_eq!(sandbox.live_instances(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_does_not_delay_other_attempts() {
    let sandbox = sandbox(SandboxConfig {
        slots: 8,
        ..small()
    });
    let stuck = handler(&sandbox, &guest("loop")).await;
    let echo = handler(&sandbox, &guest("echo")).await;
    let attempts: Vec<_> = (0..4).map(|_| attempt("[]")).collect();
    let loops: Vec<_> = attempts
        .iter()
        .map(|attempt| tokio::spawn(stuck.call(attempt.clone())))
        .collect();
    for _ in 0..100 {
        assert_eq!(echo.call(attempt("[]")).await.outcome, complete("[]"));
    }
    for attempt in &attempts {
        attempt.signal.stop(StopReason::Interrupt);
    }
    for running in loops {
        assert_eq!(running.await.expect("no panic").outcome, Outcome::Release);
    }
}

#[tokio::test]
async fn operator_settings_override_handler_settings() {
    let parts = Parts {
        manifest: r#"{"contract":"1.0.0","plugin":{"name":"g","version":"1"},"handlers":[{"name":"work","limits":{"fuel":1000000000000}}]}"#.into(),
        listed: vec![r#"{"name":"work","limits":{"fuel":1000000000000}}"#.into()],
        ..Parts::default()
    };
    let file = component(&source("loop"), &parts);
    let mut config = small();
    let fuel = LimitRequest {
        fuel: Some(1_000_000),
        ..LimitRequest::default()
    };
    config
        .overrides
        .insert(Name::new("work").expect("name"), fuel);
    let report = handler(&sandbox(config), &file)
        .await
        .call(attempt("[]"))
        .await;
    assert_eq!(failure(&report).kind, ErrorKind::Fuel);
    assert_eq!(report.record.usage.fuel, 1_000_000);
}

#[tokio::test]
async fn a_core_module_of_the_sdk_runs_like_a_component() {
    let sandbox = sandbox(small());
    let module = super::guests::core_module(&source("exit"), &Parts::default());
    let exit = handler(&sandbox, &module).await;
    let report = exit.call(attempt("[]")).await;
    assert_eq!(failure(&report).kind, ErrorKind::Exit);
}

#[tokio::test]
async fn a_version_in_use_outlives_its_plugin() {
    let sandbox = sandbox(small());
    let compiled = load(&sandbox, &guest("echo")).await.expect("load");
    let manifest = compiled.probe().await.expect("probe");
    let echo = compiled.handlers(&manifest, "guest").remove(0);
    let call = echo.call(attempt("[2]"));
    drop((compiled, echo, sandbox));
    assert_eq!(call.await.outcome, complete("[2]"));
}

/// Memory that the guests wrote must not stay with the runner: the pool's slots bound
/// what is left in it.
#[tokio::test]
async fn a_thousand_attempts_leave_no_memory_behind() {
    let sandbox = sandbox(SandboxConfig {
        slots: 4,
        ..small()
    });
    let touch = handler(&sandbox, &guest("touch_memory")).await;
    let panics = handler(&sandbox, &guest("panic")).await;
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        let pages = statm.split(' ').nth(1).expect("resident").parse::<usize>();
        pages.expect("a number") * 4096
    };
    let warm = touch.call(attempt("[]")).await;
    assert_eq!(warm.outcome, complete("1"));
    assert!(warm.record.usage.peak_memory > 48 << 20);
    let before = resident();
    for i in 0..1_000 {
        if i % 50 == 0 {
            touch.call(attempt("[]")).await;
        }
        assert_eq!(
            failure(&panics.call(attempt("[]")).await).kind,
            ErrorKind::Panic
        );
    }
    assert_eq!(sandbox.live_instances(), Some(0));
    // Other tests run concurrently, so the bound is wide: twenty leaked touches would be
    // 960 MiB.
    let grown = resident().saturating_sub(before);
    assert!(grown < 300 << 20, "{} MiB stayed", grown >> 20);
}

#[test]
fn the_wasmtime_version_matches_the_lock_file() {
    let lock = super::guests::read("../../Cargo.lock");
    let wanted = format!("name = \"wasmtime\"\nversion = \"{}\"", engine_version());
    assert!(lock.contains(&wanted), "{wanted} is not in Cargo.lock");
}
