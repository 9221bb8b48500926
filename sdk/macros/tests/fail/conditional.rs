use pgtq_sdk::prelude::*;

#[handler]
fn send(to: String, #[cfg(unix)] copies: u32, #[cfg_attr(unix, default(1))] pages: u32) {}

fn main() {}
