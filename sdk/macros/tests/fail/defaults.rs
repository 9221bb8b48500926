use pgtq_sdk::prelude::*;

#[handler]
fn twice(#[default(Some(1))] size: Option<u8>) {}

#[handler]
fn empty(#[default] size: u8) {}

#[handler]
fn wrong(#[default("big")] size: u8) {}

fn main() {}
