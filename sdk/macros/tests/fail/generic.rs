use pgtq_sdk::prelude::*;

#[handler]
fn store<T: Serialize>(value: T) {}

fn main() {}
