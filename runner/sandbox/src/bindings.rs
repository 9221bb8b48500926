//! What `wasmtime` generates from the contract, `sdk/wit/pgtq.wit`.
//!
//! Used are the exports and the types. Imports are linked by hand in
//! [`super::host`], because only then a host function can charge fuel.

wasmtime::component::bindgen!({
    path: "../../sdk/wit",
    world: "plugin",
    exports: { default: async },
});

pub(super) use exports_and_types::*;

mod exports_and_types {
    pub(crate) use super::pgtq::plugin::log::Level;
    pub(crate) use super::pgtq::plugin::types::{
        Failure as WireFailure, Problem as WireProblem, Verdict,
    };
}
