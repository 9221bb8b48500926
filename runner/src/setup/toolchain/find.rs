//! Finding the toolchain, and making one of what is there.

use std::path::Path;

use crate::setup::Say;

/// A cargo and a compiler that can build for `wasm32-wasip2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    description: String,
}

/// No toolchain on this machine can build a plugin.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no toolchain for wasm32-wasip2")]
pub struct NoToolchain {
    /// What was tried, in order, and why it did not do.
    pub tried: Vec<String>,
    /// The line to type to get one.
    pub fix: String,
}

impl Toolchain {
    /// Finds a toolchain for crates in `dir` (whose `rust-toolchain.toml` counts).
    /// Installs and builds nothing; takes a few hundred milliseconds.
    pub fn find(dir: &Path) -> Result<Self, NoToolchain> {
        let _ = dir;
        Err(NoToolchain {
            tried: vec![],
            fix: String::new(),
        })
    }

    /// Finds a toolchain, or makes one: adds the rustup target, installs system
    /// packages, builds the standard library. May take minutes the first time.
    pub fn ensure(dir: &Path, say: Say<'_>) -> Result<Self, NoToolchain> {
        let _ = say;
        Self::find(dir)
    }

    /// What it is, for people: `rustup toolchain, rustc 1.95.0`.
    pub fn description(&self) -> &str {
        &self.description
    }
}
