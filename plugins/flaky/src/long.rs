//! Handlers that run for a given time and log or report progress.

use std::time::{Duration, Instant};

use pgtq_sdk::prelude::*;

/// Logs `lines` lines, one every `ms` milliseconds. Succeeds in attempt `good`.
#[handler(name = "flaky.talk", retries = 5, timeout = 2m, backoff = exponential(100ms..1s))]
fn talks(
    ctx: &Ctx,
    #[default(3)] lines: u64,
    #[default(10)] ms: u64,
    #[default(1)] good: u32,
) -> Result<u64> {
    for line in 1..=lines {
        info!(line = line, "attempt {} says {line}", ctx.attempt());
        sleep(ms);
    }
    match ctx.attempt() {
        attempt if attempt >= good => Ok(lines),
        attempt => Err(retry!("attempt {attempt} of {good}")),
    }
}

/// Reports progress as fast as possible for `ms` milliseconds, then waits for `rest` milliseconds or a cancel.
#[handler(name = "flaky.crawl", retries = 0, timeout = 2m, fuel = 40_000_000_000)]
fn crawls(ctx: &Ctx, #[default(10)] ms: u64, #[default(10)] rest: u64) -> bool {
    let started = Instant::now();
    let mut step: u64 = 0;
    while started.elapsed() < Duration::from_millis(ms) {
        step += 1;
        ctx.progress(0.25, format!("step {step}"));
    }
    ctx.progress(0.5, "half of it");
    is_cancelled_within(ctx, rest)
}

/// Waits `ms` milliseconds for a cancel, then ends as `end` says: `result`, `error` or `never`.
#[handler(name = "flaky.until_cancelled", retries = 5, timeout = 2m)]
fn until_cancelled(
    ctx: &Ctx,
    #[default(10)] ms: u64,
    #[default("result")] end: String,
) -> Result<bool> {
    info!("ready");
    let cancelled = is_cancelled_within(ctx, ms);
    match end.as_str() {
        "result" => Ok(cancelled),
        "error" => Err(retry!("stopped half way")),
        _ => loop {
            sleep(10);
        },
    }
}

fn is_cancelled_within(ctx: &Ctx, ms: u64) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(ms) {
        if ctx.is_cancelled() {
            return true;
        }
        sleep(10);
    }
    false
}

#[allow(clippy::disallowed_methods, reason = "taking time is their purpose")]
fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talk_logs_its_lines_and_succeeds_in_the_good_attempt() {
        let ctx = Ctx::test();
        assert!(talks(&ctx, 2, 0, 2).is_err());
        assert_eq!(ctx.logs().len(), 2);
        assert_eq!(talks(&Ctx::test().attempt(2), 1, 0, 2), Ok(1));
    }

    #[test]
    fn a_cancel_ends_the_wait() {
        let cancelled = Ctx::test().cancelled(true);
        assert_eq!(
            until_cancelled(&cancelled, 60_000, "result".into()),
            Ok(true)
        );
        assert!(crawls(&cancelled, 0, 60_000));
        assert!(until_cancelled(&Ctx::test(), 0, "error".into()).is_err());
    }
}
