//! The contract between pgtq and its plugins: the types that the runner, the SDK and the SDK's
//! macros share, with one parser and one meaning each.
//!
//! [`WIT`] is the binary interface. [`Manifest`] is the description that a plugin gives of itself:
//! names, retry policies, requested limits and requested capabilities ([`Needs`]). The rules of
//! HTTP requests, TCP connections and pushes occur twice: a plugin requests them, an operator
//! grants them.
//!
//! Every plugin links this crate, so it depends on nothing. The feature `serde` reads and writes
//! the types as they stand in a manifest.

pub mod coverage;
pub mod host;
pub mod http;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod needs;
mod path;
pub mod push;
pub mod retry;
#[cfg(feature = "serde")]
mod wire;

pub use coverage::{Coverage, cover, cover_http};
pub use host::{HostRule, PortRule, TcpRule, host};
pub use http::{HttpRule, HttpTarget, TargetError};
pub use limits::LimitRequest;
pub use manifest::{HandlerInfo, Manifest, PluginInfo};
pub use name::{Name, NameError};
pub use needs::{Needs, is_guest_directory};
pub use push::{HandlerRule, PushDefaults, PushRule};
pub use retry::{Backoff, Retries, RetryPolicy};

/// The version of the contract: the package version in [`WIT`].
pub const VERSION: &str = "1.0.0";

/// The imports and exports of a plugin.
pub const WIT: &str = include_str!("../wit/pgtq.wit");

#[cfg(test)]
mod tests;
