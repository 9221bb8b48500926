//! The only crate that uses wasmtime.
//!
//! Covers the way from the bytes of a plugin file to finished attempts: inspects a file
//! without running it ([`inspect`]), compiles it in a child process under limits
//! ([`Sandbox::compile`]), asks it for its manifest ([`Compiled::probe`]), and returns
//! [`pgtq_task::Handler`]s that run every attempt in its own instance.
//!
//! ```text
//! bytes ─ inspect ─► compile (child process, cache) ─► Compiled ─ probe ─► Manifest
//!                                                         └─ handlers ─► attempts
//! ```
//!
//! Guarantees: no bytes, arguments, output or behaviour of a guest crash the runner or
//! exceed their limits; one attempt never sees data of another; usage and logs are
//! reported for every outcome.
//!
//! Does not use the database or the plugin directory, and does not decide when to load a
//! file.

mod access;
mod account;
mod attempt;
mod bindings;
mod cache;
mod capability;
mod child;
mod compile;
mod config;
mod confine;
mod copies;
mod direct;
mod engine;
mod error;
mod facts;
mod failure;
mod fair;
mod granted;
mod handler;
mod host;
mod host_call;
mod inspect;
mod json;
mod limiter;
mod load;
mod logs;
mod net;
mod phases;
mod private;
mod push;
mod redact;
mod state;
mod stdio;
mod stop;
mod walk;
mod wasi;
mod weight;

pub use capability::{FakeHttp, FakeRequest, FakeResponse};
pub use child::compile_child;
pub use compile::{Compiler, validate};
pub use config::{Allocator, SandboxConfig};
pub use error::{LoadError, SandboxError};
pub use inspect::{CONTRACT, FileForm, Inspection, inspect};
pub use load::{COMPILERS, Compiled, Sandbox};
pub use phases::Phases;
pub use private::{PrivateDir, user};

/// The built-in version of wasmtime, for `pgtq version` and `doctor`.
pub fn engine_version() -> &'static str {
    // wasmtime does not export it; a test compares it with Cargo.lock.
    "48.0.8"
}

#[cfg(test)]
mod tests;
