//! Workloads of the benchmarks: compute-bound kernels, to compare with native code,
//! and a handler that waits.

use std::time::Duration;

use pgtq_sdk::prelude::*;

pub mod work;

/// Integer arithmetic and branches.
#[handler(name = "kernel.integer", retries = 0, timeout = 5m, fuel = 1_000_000_000_000)]
fn integer(n: u64) -> String {
    work::integer(n).to_string()
}

/// Hashing of small blocks.
#[handler(name = "kernel.hashing", retries = 0, timeout = 5m, fuel = 1_000_000_000_000)]
fn hashing(n: u64) -> String {
    work::hashing(n).to_string()
}

/// Loads and stores at scattered addresses.
#[handler(name = "kernel.memory", retries = 0, timeout = 5m, fuel = 1_000_000_000_000)]
fn memory(n: u64) -> String {
    work::memory(n).to_string()
}

/// Waits `ms` milliseconds, like a handler that waits for another service.
#[handler(name = "kernel.wait", retries = 0, timeout = 5m)]
#[allow(
    clippy::disallowed_methods,
    reason = "waiting is its purpose; a sleeping guest blocks no thread of its runner"
)]
fn wait(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_deterministic() {
        // 1 takes no step, 2 one, 3 seven.
        assert_eq!(integer(3), "8");
        assert_eq!(work::hashing(100), work::hashing(100));
        assert_ne!(work::hashing(100), work::hashing(101));
        assert_ne!(work::memory(2_000_000), 0);
        assert_eq!(wait(1), 1);
    }
}
