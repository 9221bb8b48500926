//! The host of a handler: the contract's imports in the sandbox, the recorder of
//! one test elsewhere. Both modules have the same items.

pub(crate) mod types;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{fakes::Body, *};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::{http::Body, *};

/// A response from this host.
pub(crate) type Incoming = types::Incoming<Body>;
