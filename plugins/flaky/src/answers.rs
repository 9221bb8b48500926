//! Handlers that return an error, or a result after retries.

use std::fmt;

use pgtq_sdk::prelude::*;

/// Returns an error. With two retries there are three attempts.
#[handler(name = "flaky.error", retries = 2, backoff = exponential(100ms..1s))]
fn error(#[default("the printer is on fire")] message: String) -> Result<()> {
    Err(retry!("{message}")
        .code("printer")
        .details(json!({ "floor": 3 })))
}

/// Fails until attempt `good`, then returns the number of that attempt.
#[handler(name = "flaky.until", retries = 10, backoff = exponential(100ms..1s))]
fn until(ctx: &Ctx, #[default(3)] good: u32) -> Result<u32> {
    match ctx.attempt() {
        attempt if attempt >= good => Ok(attempt),
        attempt => Err(retry!("attempt {attempt} of {good}")),
    }
}

/// Fails with a probability of one in `out_of`, over many tasks.
#[handler(name = "flaky.sometimes", retries = forever, backoff = exponential(100ms..1s))]
fn sometimes(ctx: &Ctx, #[default(5)] out_of: u64) -> Result<u32> {
    // Deterministic: computed from the id and the attempt.
    let roll = ctx
        .id()
        .wrapping_mul(31)
        .wrapping_add(u64::from(ctx.attempt()));
    match roll % out_of.max(1) {
        0 => Err(retry!("failed by chance, one in {out_of}")),
        _ => Ok(ctx.attempt()),
    }
}

/// Returns an error with a source.
#[handler(name = "flaky.chain", retries = 0)]
fn chain() -> Result<u32, Unreadable> {
    "twelve".parse().map_err(Unreadable)
}

/// An error type of this crate, with a source.
#[derive(Debug)]
struct Unreadable(std::num::ParseIntError);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read the number of the floor")
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Fails at once, without retries.
#[handler(name = "flaky.fatal", retries = forever)]
fn fatal() -> Result<()> {
    Err(fatal!("there is no such floor"))
}

/// Sets the delay of its retry to `ms` milliseconds, then succeeds.
#[handler(name = "flaky.retry_after", retries = 1, backoff = exponential(1h..1h))]
fn retry_after(ctx: &Ctx, #[default(200)] ms: u64) -> Result<u32> {
    if ctx.attempt() > 1 {
        return Ok(ctx.attempt());
    }
    Err(retry!("not yet").retry_after(Duration::from_millis(ms)))
}

/// Snoozes until the task is `ms` milliseconds old. Snoozing does not use attempts.
#[handler(name = "flaky.snooze", retries = 0)]
fn snoozes(ctx: &Ctx, #[default(300)] ms: u64) -> Result<u32> {
    // Both times are from the database's clock.
    let age = ctx
        .due_at()
        .duration_since(ctx.pushed_at())
        .unwrap_or_default();
    if age >= Duration::from_millis(ms) {
        return Ok(ctx.attempt());
    }
    Err(snooze(Duration::from_millis(ms)))
}

/// Cancels its own task.
#[handler(name = "flaky.cancel", retries = 5)]
fn cancels() -> Result<()> {
    Err(cancel("no longer needed"))
}

/// Pushes two child tasks and fails: they are never created.
#[handler(name = "flaky.push_then_fail", retries = 0)]
fn push_then_fail(ctx: &Ctx) -> Result<()> {
    until::push(1)?;
    ctx.push("flaky.until", json!({ "good": 1 }))?;
    Err(fatal!("failed after two pushes"))
}

/// Pushes to an invalid handler name.
#[handler(name = "flaky.bad_push", retries = 0)]
fn bad_push(ctx: &Ctx) -> Result<()> {
    ctx.push("not a name!", json!({}))
}

/// Returns a value that cannot be written as JSON: a map whose keys are not strings.
#[handler(name = "flaky.not_json", retries = 0)]
fn not_json() -> std::collections::BTreeMap<(u8, u8), u8> {
    [((1, 2), 3)].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgtq_sdk::Verdict;

    #[test]
    fn each_error_has_its_verdict() {
        let ctx = Ctx::test();
        for (handler, verdict, message) in [
            ("flaky.error", Verdict::Retry, "the printer is on fire"),
            ("flaky.fatal", Verdict::Fail, "there is no such floor"),
            ("flaky.cancel", Verdict::Cancel, "no longer needed"),
            ("flaky.snooze", Verdict::Snooze, "snoozed"),
            ("flaky.retry_after", Verdict::Retry, "not yet"),
            (
                "flaky.chain",
                Verdict::Retry,
                "read the number of the floor: invalid digit found in string",
            ),
        ] {
            let error = ctx.run(handler, json!({})).expect_err(handler);
            assert_eq!((error.verdict(), error.message()), (verdict, message));
        }
    }

    #[test]
    fn a_later_attempt_succeeds() {
        assert_eq!(until(&Ctx::test().attempt(3), 3), Ok(3));
        assert_eq!(retry_after(&Ctx::test().attempt(2), 5), Ok(2));
        assert_eq!(snoozes(&Ctx::test().times(0, 400), 300), Ok(1));
    }

    #[test]
    fn children_are_pushed_before_the_failure() {
        let ctx = Ctx::test();
        assert!(push_then_fail(&ctx).is_err());
        assert_eq!(ctx.pushed(until::NAME).len(), 2);
    }

    #[test]
    fn a_map_without_string_keys_is_an_error() {
        let error = Ctx::test().run("flaky.not_json", json!(null));
        let message = error.expect_err("JSON keys are strings").to_string();
        assert!(
            message.starts_with("the result cannot be written as JSON"),
            "{message}"
        );
    }
}
