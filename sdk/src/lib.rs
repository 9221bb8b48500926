//! Write handlers for pgtq: ordinary Rust functions that run as tasks in a
//! WebAssembly sandbox.
//!
//! ```
//! use pgtq_sdk::prelude::*;
//!
//! /// Add two numbers.
//! #[handler(retries = 5, timeout = 30s)]
//! fn add_numbers(a: i64, b: i64) -> i64 {
//!     a + b
//! }
//!
//! assert_eq!(add_numbers(2, 3), 5);
//! ```
//!
//! The function stays an ordinary function; built for `wasm32-wasip2` as a
//! `cdylib`, the crate becomes a plugin whose handler `add_numbers` takes the
//! arguments `{"a": 2, "b": 3}` or `[2, 3]`. The guide is `docs/plugins.md`.
//!
//! The features `uuid`, `jiff` and `chrono` make types of these crates arguments
//! and results, and re-export the crates.
//!
//! This crate owns the guest's side of the contract `sdk/contract/wit/pgtq.wit`: the two
//! exports, the decoding of arguments, the encoding of results and errors.
//! It promises that everything also runs natively, against [`Ctx::test`]. It
//! does no I/O of its own: whatever leaves the guest goes through the host's imports.

// The attribute writes absolute paths, which must resolve in this crate too.
extern crate self as pgtq_sdk;

mod args;
#[cfg(target_arch = "wasm32")]
#[expect(
    clippy::allow_attributes,
    unreachable_pub,
    reason = "generated text is left as its generator wrote it"
)]
mod bindings;
mod bytes;
mod ctx;
mod error;
#[cfg(target_arch = "wasm32")]
mod guest;
mod host;
pub mod http;
mod json;
#[doc(hidden)]
pub mod log;
mod push;
mod registry;
mod returned;
mod secret;
pub mod sql;
mod state;
#[cfg(not(target_arch = "wasm32"))]
mod testing;

pub use args::Json;
pub use bytes::Bytes;
pub use ctx::Ctx;
pub use error::{Error, Result, ResultExt, Verdict, cancel, snooze};
pub use log::Level;
pub use pgtq_contract::Retries;
pub use pgtq_sdk_macros::{data, handler};
pub use push::Task;
pub use secret::Secret;
pub use state::State;
#[cfg(not(target_arch = "wasm32"))]
pub use testing::{Logged, Pushed, Reply, Requested, Statement, TestCtx};

// For the code that `#[data]` writes, and for plugins that need the same versions.
pub use {schemars, serde, serde_json};

#[cfg(feature = "chrono")]
pub use chrono;
#[cfg(feature = "jiff")]
pub use jiff;
#[cfg(feature = "uuid")]
pub use uuid;

/// The version of the contract this SDK speaks: the package version in `sdk/contract/wit/pgtq.wit`.
pub const CONTRACT: &str = pgtq_contract::VERSION;

/// Everything a plugin usually needs: `use pgtq_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Bytes, Ctx, Error, Json, Result, ResultExt, Task, cancel, data, debug, error, fatal,
        handler, info, json, retry, secs, snooze, warn,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::Value;
    pub use std::time::Duration;
}

/// A duration of whole seconds, the shortest way to write one.
pub const fn secs(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds)
}

/// What the attribute's expansion names. Not for people; may change at any time.
#[doc(hidden)]
pub mod __private {
    pub use crate::args::{Argument, Arguments};
    pub use crate::ctx::Ctx;
    pub use crate::json::expression;
    pub use crate::registry::{ArgumentsSchema, Entry};
    pub use crate::returned::{Fallible, Plain, returned};
    pub use inventory;

    /// The context of the attempt under way.
    pub fn ctx() -> Ctx {
        Ctx::current()
    }
}

/// Compiles the snippets of the plugin author's guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugins.md")]
struct Guide;
