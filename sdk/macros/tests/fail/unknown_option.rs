use pgtq_sdk::prelude::*;

#[handler(timout = 30s, cron = "0 3 * * *")]
fn send() {}

fn main() {}
