use pgtq_sdk::prelude::*;

#[handler]
fn resize(width: u32, #[default(width)] height: u32) {}

fn main() {}
