//! The toolchain that builds plugins for WebAssembly.
//!
//! Three ways, tried in this order:
//!
//! 1. the installed compiler has the standard library for `wasm32-wasip2`;
//! 2. `rustup target add wasm32-wasip2` gets it;
//! 3. the system's Rust has its sources. Then the library is built once, about a
//!    minute, into a directory below the cache that rustc takes as its sysroot.
//!    From there on a build is the same as in the first way: every crate has its
//!    own target directory, and nothing of the library is built again.
//!
//! `PGTQ_WASM_TOOLCHAIN=installed` or `=system` allows only the first two or only
//! the third. `PGTQ_NO_INSTALL=1` allows nothing to be installed; the library may
//! still be built.

mod build;
mod environment;
mod find;
mod library;
mod linker;
mod reproducible;
mod system;

#[cfg(test)]
mod tests;

pub use build::{Artifact, BuildError, BuildOptions, Built, Output, build_plugin};
pub use find::{NoToolchain, Toolchain};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-wasip2";
