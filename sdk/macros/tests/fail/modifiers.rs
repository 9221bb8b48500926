use pgtq_sdk::prelude::*;

#[handler]
async fn waits() {}

#[handler]
const fn fixed() {}

#[handler]
unsafe fn risky() {}

#[handler]
extern "C" fn foreign() {}

fn main() {}
