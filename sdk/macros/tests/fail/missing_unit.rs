use pgtq_sdk::prelude::*;

#[handler(timeout = 30, memory = 64)]
fn send() {}

fn main() {}
