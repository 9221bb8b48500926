use pgtq_sdk::prelude::*;

struct Secret;

#[handler]
fn send(to: String, secret: Secret) {}

fn main() {}
