//! The toolchain that builds plugins for WebAssembly.
//!
//! The installed compiler needs the standard library for `wasm32-wasip2`. If it has
//! none, `rustup target add wasm32-wasip2` gets it, unless `PGTQ_NO_INSTALL=1`. Without
//! rustup, the error says how to install that.

mod build;
mod environment;
mod find;
mod reproducible;

#[cfg(test)]
mod tests;

pub use build::{Artifact, BuildError, BuildOptions, Built, Output, build_plugin};
pub use find::{NoToolchain, Toolchain};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-wasip2";
