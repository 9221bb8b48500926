use pgtq_sdk::prelude::*;

#[handler]
fn kept(text: &'static str) {}

#[handler]
fn optional(text: Option<&'static str>, number: Option<&u8>) {}

#[handler]
fn inside(texts: Vec<&str>, pair: (u8, &str)) {}

fn main() {}
