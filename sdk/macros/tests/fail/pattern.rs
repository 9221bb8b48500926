use pgtq_sdk::prelude::*;

#[handler]
fn pair((a, b): (u8, u8)) {}

#[handler]
fn nameless(_: u8) {}

fn main() {}
