use pgtq_sdk::prelude::*;

#[handler]
fn send(first: Json<u8>, second: Json<u8>) {}

#[handler]
fn mixed(first: Json<u8>, second: u8) {}

fn main() {}
