//! Steps with HTTP, secrets and state.

use pgtq_sdk::prelude::*;

use crate::Step;

/// Runs a step, if it is one of this module.
pub fn take(ctx: &Ctx, step: &Step) -> Option<Result<String>> {
    Some(match step {
        Step::Get(url) => get(ctx, url, None),
        Step::GetWith(url, name, value) => get(ctx, url, Some((name, value))),
        Step::Post(url, bytes) => post(ctx, url, *bytes),
        Step::Count(url) => count(ctx, url),
        Step::Keep(url) => keep(ctx, url),
        Step::SaveMany(times) => save(ctx, *times),
        Step::Show(name) => show(ctx, name),
        Step::Give(name) => ctx.secret(name).read(),
        Step::SaveSecret(name) => keep_secret(ctx, name),
        Step::PushSecret(name) => push_secret(ctx, name),
        Step::PanicWith(name) => ctx.secret(name).read().map(|value| panic!("lost {value}")),
        _ => return None,
    })
}

fn get(ctx: &Ctx, url: &str, header: Option<(&String, &String)>) -> Result<String> {
    let mut request = ctx.http().get(url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = request.send()?;
    Ok(format!("{} {}", response.status(), response.text()?))
}

fn post(ctx: &Ctx, url: &str, bytes: u64) -> Result<String> {
    let body = vec![b'x'; bytes as usize];
    let response = ctx.http().post(url).body(body).send()?;
    Ok(format!("{} {}", response.status(), response.text()?))
}

fn count(ctx: &Ctx, url: &str) -> Result<String> {
    let mut response = ctx.http().get(url).send()?;
    let mut bytes = 0;
    while let Some(piece) = response.read_chunk()? {
        bytes += piece.len();
    }
    Ok(format!("{bytes}"))
}

fn keep(ctx: &Ctx, url: &str) -> Result<String> {
    let mut response = ctx.http().get(url).send()?;
    let mut kept = Vec::new();
    while let Some(piece) = response.read_chunk()? {
        kept.push(piece);
    }
    Ok(format!("{} pieces", kept.len()))
}

fn show(ctx: &Ctx, name: &str) -> Result<String> {
    let value = ctx.secret(name).read()?;
    info!("sent {value}");
    info!(key = value, "with a field");
    println!("printed {value}");
    eprintln!("complained {value}");
    ctx.progress(0.5, format!("sending {value}"));
    Ok(format!("{} bytes", value.len()))
}

/// The outcome of the last one.
fn save(ctx: &Ctx, times: u32) -> Result<String> {
    let saved = (0..times).map(|n| ctx.state().save(&n)).last();
    saved.transpose().map(|_| "saved".to_owned())
}

fn keep_secret(ctx: &Ctx, name: &str) -> Result<String> {
    ctx.state().save(&ctx.secret(name).read()?)?;
    Ok("saved".to_owned())
}

fn push_secret(ctx: &Ctx, name: &str) -> Result<String> {
    let value = ctx.secret(name).read()?;
    ctx.push("other", json!({ "value": value }))?;
    Ok("pushed".to_owned())
}
