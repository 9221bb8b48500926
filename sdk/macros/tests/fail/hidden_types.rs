use pgtq_sdk::prelude::*;

#[handler]
fn takes(words: impl Iterator<Item = String>) {}

#[handler]
fn returns() -> impl Serialize {
    7
}

fn main() {}
