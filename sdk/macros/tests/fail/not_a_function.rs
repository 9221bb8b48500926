use pgtq_sdk::prelude::*;

#[handler]
struct Send;

#[data]
fn letter() {}

fn main() {}
