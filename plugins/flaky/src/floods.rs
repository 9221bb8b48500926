//! Handlers that exceed the limits of results, logs and pushes.

use pgtq_sdk::prelude::*;

/// Returns a string of `bytes` bytes.
#[handler(name = "flaky.huge_result", retries = 0, memory = 256MiB)]
fn huge_result(#[default(30_000_000)] bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Returns an error with a message of `bytes` bytes.
#[handler(name = "flaky.huge_error", retries = 0, memory = 256MiB)]
fn huge_error(#[default(30_000_000)] bytes: usize) -> Result<()> {
    Err(fatal!("{}", "x".repeat(bytes)))
}

/// Logs `lines` lines.
#[handler(name = "flaky.logs", retries = 0)]
fn logs(#[default(1_000_000)] lines: u64) -> u64 {
    for line in 0..lines {
        info!(line = line, "nothing happened");
    }
    lines
}

/// Logs one line of `bytes` bytes.
#[handler(name = "flaky.huge_line", retries = 0)]
fn huge_line(#[default(8_000_000)] bytes: usize) {
    info!("{}", "x".repeat(bytes));
}

/// Pushes `count` children.
#[handler(name = "flaky.pushes", retries = 0)]
fn pushes(ctx: &Ctx, #[default(100_000)] count: u64) -> Result<u64> {
    for number in 0..count {
        ctx.push("flaky.until", json!({ "good": 1 }))?;
        ctx.progress(number as f64 / count as f64, "pushing");
    }
    Ok(count)
}

/// Pushes one task with the given options. It declares more than the tests grant.
#[handler(
    name = "flaky.push_to",
    retries = 0,
    needs(push = "add_numbers queue=urgent priority=-10")
)]
fn push_to(
    handler: String,
    args: Value,
    queue: Option<String>,
    priority: Option<i32>,
    key: Option<String>,
) -> Result<()> {
    let mut task = Task::new(handler, args);
    if let Some(queue) = queue {
        task = task.queue(queue);
    }
    if let Some(priority) = priority {
        task = task.priority(priority);
    }
    if let Some(key) = key {
        task = task.key(key);
    }
    task.push()
}

/// Pushes itself twice, for `generations` generations.
#[handler(name = "flaky.doubles", retries = 0)]
fn doubles(ctx: &Ctx, #[default(0)] generations: u64) -> Result<u64> {
    if generations > 0 {
        for _ in 0..2 {
            ctx.push(doubles::NAME, json!({ "generations": generations - 1 }))?;
        }
    }
    Ok(generations)
}

/// Reports progress `times` times, with NaN as the fraction.
#[handler(name = "flaky.progress", retries = 0)]
fn progress(ctx: &Ctx, #[default(100_000)] times: u64) -> u64 {
    for time in 0..times {
        ctx.progress(f64::NAN, format!("step {time}"));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_arguments_are_within_the_limits() {
        let ctx = Ctx::test();
        assert_eq!(huge_result(3), "xxx");
        assert_eq!(logs(2), 2);
        assert_eq!(ctx.logs().len(), 2);
        assert_eq!(pushes(&ctx, 2), Ok(2));
        assert_eq!(ctx.all_pushed().len(), 2);
        assert_eq!(progress(&ctx, 2), 2);
        assert_eq!(doubles(&ctx, 0), Ok(0));
        assert_eq!(doubles(&ctx, 1), Ok(1));
        assert_eq!(ctx.pushed(doubles::NAME).len(), 2);
    }
}
