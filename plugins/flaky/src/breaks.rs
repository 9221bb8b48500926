//! Handlers that do not return: they trap, hang or exit.
//!
//! Native tests cannot run them. The runner's tests run them in the sandbox.

use std::hint::black_box;
use std::time::Duration;

use pgtq_sdk::prelude::*;

/// Panics.
#[handler(name = "flaky.panic", retries = 0)]
fn panics(#[default("the floor gave way")] message: String) {
    warn!("about to panic");
    panic!("{message}");
}

/// Executes the trap instruction: no message, only a backtrace.
#[handler(name = "flaky.trap", retries = 0)]
fn traps() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

/// Loops until its fuel is used up.
#[handler(name = "flaky.loop", retries = 0)]
fn loops() -> u64 {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
        if turns == u64::MAX {
            return turns;
        }
    }
}

/// Sleeps: uses time but no fuel.
#[handler(name = "flaky.sleep", retries = 0, timeout = 1s)]
#[allow(clippy::disallowed_methods, reason = "sleeping is its purpose")]
fn sleeps(#[default(5_000)] ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Allocates memory until the limit.
#[handler(name = "flaky.memory", retries = 0)]
fn memory(#[default(1 << 32)] bytes: u64) -> usize {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut allocated: u64 = 0;
    while allocated < bytes {
        blocks.push(black_box(vec![1; 1 << 20]));
        allocated += 1 << 20;
    }
    blocks.len()
}

/// Calls itself until the stack overflows.
#[handler(name = "flaky.recursion", retries = 0)]
fn recursion(#[default(u64::MAX)] depth: u64) -> u64 {
    deeper(depth)
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    // The array prevents the compiler from turning this into a loop.
    let frame = black_box([depth; 64]);
    match depth {
        0 => 0,
        _ => deeper(depth - 1).wrapping_add(frame[0]),
    }
}

/// Exits the process, as a program would.
#[handler(name = "flaky.exit", retries = 0)]
fn exits(#[default(3)] code: i32) {
    std::process::exit(code);
}

/// Divides by an argument that may be zero, which panics.
#[handler(name = "flaky.divide", retries = 0)]
fn divide(a: i64, b: i64) -> i64 {
    a / b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_arguments_return() {
        assert_eq!(memory(1), 1);
        assert_eq!(recursion(3), 6);
        assert_eq!(divide(7, 2), 3);
    }
}
