//! The target of plugins.

/// The target of plugins.
pub(super) const TARGET: &str = "wasm32-wasip2";
