//! The toolchain that builds plugins.
//!
//! The compiler needs the standard library for `wasm32-wasip2`. If it is missing,
//! `rustup target add wasm32-wasip2` installs it, unless `PGTQ_NO_INSTALL` is set. Without
//! rustup, the error says how to install rustup.

mod build;
mod environment;
mod find;
mod reproducible;
mod target;

#[cfg(test)]
mod tests;

pub use build::{Artifact, BuildError, BuildOptions, Built, CompilerOutput, build_plugin};
pub use find::{NoToolchain, Toolchain};
