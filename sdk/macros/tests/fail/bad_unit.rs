use pgtq_sdk::prelude::*;

#[handler(timeout = 30sec, memory = 64MB, backoff = exponential(1x..1h))]
fn send() {}

#[handler(timeout = "30s")]
fn quoted() {}

fn main() {}
