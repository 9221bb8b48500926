use pgtq_sdk::prelude::*;

struct Secret;

#[handler]
fn plain() -> Secret {
    Secret
}

#[handler]
fn fallible() -> Result<u8, Secret> {
    Err(Secret)
}

fn main() {}
