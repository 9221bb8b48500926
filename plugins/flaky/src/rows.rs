//! SQL that is committed or rolled back.

use std::hint::black_box;
use std::time::Duration;

use pgtq_sdk::prelude::*;

/// Inserts the task's id into the table `rows` of its role, then ends as `then` says:
/// `result`, which also pushes a task with `leaf`, `leaf`, `error`, `panic`, `trap`,
/// `loop`, `sleep`, or `ignore`, which returns a result after a failed statement.
/// Only an attempt that succeeds leaves a row.
#[handler(name = "flaky.rows", retries = 3, backoff = exponential(100ms..1s), needs(sql))]
#[allow(clippy::disallowed_methods, reason = "sleeping is one way to end")]
fn rows(ctx: &Ctx, #[default("error")] then: String) -> Result<u64> {
    let written = ctx.sql().execute(
        "INSERT INTO rows (task, note) VALUES ($1, $2)",
        (ctx.id(), &then),
    )?;
    match then.as_str() {
        "result" => rows::push("leaf".to_owned())?,
        "leaf" => {}
        "panic" => panic!("with a row written"),
        #[cfg(target_arch = "wasm32")]
        "trap" => core::arch::wasm32::unreachable(),
        "loop" => while black_box(true) {},
        "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
        "ignore" => {
            let failed = ctx.sql().execute("SELECT 1 / 0", ());
            info!(failed = failed.is_err(), "ignoring the error");
        }
        other => return Err(retry!("ended with {other}")),
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgtq_sdk::sql::Rows;

    #[test]
    fn a_row_is_written_and_a_leaf_pushed() {
        let ctx = Ctx::test().on_sql("INSERT INTO rows", |_| Ok(Rows::affected_only(1)));
        assert_eq!(rows(&ctx, "result".to_owned()).expect("a row"), 1);
        assert_eq!(ctx.all_pushed().len(), 1);
        let ctx = Ctx::test().on_sql("INSERT INTO rows", |_| Ok(Rows::affected_only(1)));
        assert!(rows(&ctx, "error".to_owned()).is_err());
    }
}
