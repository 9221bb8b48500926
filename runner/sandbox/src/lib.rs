//! The only room that touches wasmtime.
//!
//! Owns the way from the bytes of a plugin file to ended attempts: look at a
//! file without running it ([`inspect`]), compile it in a child process under
//! limits ([`Sandbox::compile`]), ask it for its manifest
//! ([`Compiled::probe`]), and hand out [`pgtq_task::Handler`]s that run
//! every attempt in an instance of its own.
//!
//! ```text
//! bytes ─ inspect ─► compile (child process, cache) ─► Compiled ─ probe ─► Manifest
//!                                                         └─ handlers ─► attempts
//! ```
//!
//! Promises: no bytes, arguments, output or behaviour of a guest crash the
//! runner or take more than their limits; nothing of one attempt is seen by
//! another; usage and logs are reported for every ending.
//!
//! Does not know the database, the plugin directory, or when to load what.

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

/// The version of wasmtime that is built in, for `pgtq version` and `doctor`.
pub fn engine_version() -> &'static str {
    // wasmtime does not export it; a test holds it against Cargo.lock.
    "48.0.8"
}

#[cfg(test)]
mod tests;
