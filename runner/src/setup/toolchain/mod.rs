//! The toolchain that builds plugins for WebAssembly.

mod build;
mod find;

pub use build::{Artifact, BuildError, BuildOptions, Built, Output, build_plugin};
pub use find::{NoToolchain, Toolchain};
