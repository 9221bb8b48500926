use pgtq_sdk::prelude::*;

#[handler(retries = often, retries = 5, fuel = 1M, priority = high)]
fn send() {}

#[handler(retries)]
fn bare() {}

fn main() {}
