//! Bindings that `wasmtime` generates from the contract, `sdk/contract/wit/pgtq.wit`.
//!
//! Only the exports and the types are used. [`crate::run::linker`] links the imports by hand,
//! because only then can a host function charge fuel.

wasmtime::component::bindgen!({
    path: "../../sdk/contract/wit",
    world: "plugin",
    exports: { default: async },
});

pub(crate) use exports_and_types::*;

mod exports_and_types {
    pub(crate) use super::pgtq::plugin::log::Level;
    pub(crate) use super::pgtq::plugin::types::{
        Failure as WireFailure, Problem as WireProblem, Verdict,
    };
}
