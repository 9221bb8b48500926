//! One handler for each capability, with the SDK.

use pgtq_sdk::prelude::*;

/// Sends a body of `size` bytes, and reads the response in chunks.
#[handler(needs(http = "http://127.0.0.1:*", secret = "token"))]
fn exchange(ctx: &Ctx, url: &str, #[default(0)] size: usize) -> Result<Exchanged> {
    let mut answer = ctx
        .http()
        .post(url)
        .query("a b", "c&d")
        .bearer(ctx.secret("token"))
        .header("x-one", 1)
        .body(vec![b'x'; size])
        .timeout(secs(20))
        .send()?
        .error_for_status()?;
    let kind = answer.header("X-Kind").map(str::to_owned);
    let (mut read, mut sum) = (0, 0_u64);
    while let Some(chunk) = answer.read_chunk()? {
        read += chunk.len();
        sum += chunk.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    Ok(Exchanged {
        status: answer.status(),
        kind,
        read,
        sum,
    })
}

#[data]
struct Exchanged {
    status: u16,
    kind: Option<String>,
    read: usize,
    sum: u64,
}

/// Reads a secret.
#[handler(needs(secret = "token"))]
fn peek(ctx: &Ctx) -> Result<usize> {
    Ok(ctx.secret("token").read()?.len())
}

/// Runs SQL with a checkpoint, and saves state before and after.
#[handler(needs(sql))]
fn tables(ctx: &Ctx) -> Result<Value> {
    ctx.state().save("before")?;
    let row = ctx.sql().query_one("row", (1, "two", Bytes::from([255]), None::<u8>))?;
    ctx.state().save("with it")?;
    ctx.sql().checkpoint(&json!({ "done": 1 }))?;
    ctx.state().save("after")?;
    let affected = ctx.sql().execute("touch", ())?;
    Ok(json!({
        "id": row.get::<i64>("id")?,
        "photo": row.get::<Bytes>(1)?.0,
        "affected": affected,
        "state": ctx.state().load::<Value>()?,
    }))
}

/// Runs two steps, one of them with SQL.
#[handler(needs(sql))]
fn steps(ctx: &Ctx) -> Result<Vec<u64>> {
    let first = ctx.step("first", || Ok(11))?;
    let second = ctx.step("second", || ctx.sql().execute("touch", ()))?;
    Ok(vec![first, second])
}

/// Returns whether cancellation was requested, and the time.
#[handler]
fn facts(ctx: &Ctx) -> bool {
    ctx.is_cancelled() || ctx.now() < ctx.pushed_at()
}
