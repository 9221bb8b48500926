use pgtq_sdk::prelude::*;

#[handler]
fn send(to: &String, parts: &[u8], rest: &mut Vec<u8>) {}

fn main() {}
