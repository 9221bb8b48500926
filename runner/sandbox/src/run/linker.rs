//! The host's side of the contract: every import of a plugin.

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::attempt::state::StoreData;
use crate::{capability, wasi};

/// Everything that a plugin may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    capability::link(&mut linker)?;
    Ok(linker)
}
