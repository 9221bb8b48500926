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

mod attempt;
mod bindings;
mod capability;
mod compile;
mod compiler;
mod config;
mod direct;
mod engine;
mod error;
mod fair;
mod json;
mod net;
mod private;
mod run;
mod text;
mod wasi;

pub use capability::http::fake::{FakeHttp, FakeRequest, FakeResponse};
pub use compile::child::compile_child;
pub use compile::file_form::FileForm;
pub use compile::inspect::{CONTRACT, Inspection, inspect};
pub use compile::parent::validate;
pub use compiler::Compiler;
pub use config::{Allocator, SandboxConfig};
pub use engine::engine_version;
pub use error::{LoadError, SandboxError};
pub use private::{PrivateDir, user};
pub use run::compiled::Compiled;
pub use run::phases::Phases;
pub use run::sandbox::{COMPILERS, Sandbox};

#[cfg(test)]
mod tests;
