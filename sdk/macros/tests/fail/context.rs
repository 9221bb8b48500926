use pgtq_sdk::prelude::*;

#[handler]
fn late(to: String, ctx: &Ctx) {}

#[handler]
fn owned(ctx: Ctx) {}

fn main() {}
