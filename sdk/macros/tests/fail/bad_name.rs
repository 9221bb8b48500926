use pgtq_sdk::prelude::*;

#[handler(name = "send mail")]
fn send() {}

#[handler]
fn größe() {}

fn main() {}
