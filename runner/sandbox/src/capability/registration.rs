//! What a capability gives to the sandbox: its folder exports one of these, and
//! [`capability`](crate::capability) lists it.

use std::sync::Arc;

use wasmtime::component::Linker;

use crate::attempt::services::Services;
use crate::attempt::state::StoreData;
use crate::config::SandboxConfig;
use crate::net::network::Net;

/// A capability that is linked for every plugin.
pub(crate) struct Capability {
    /// The interfaces that it links, without their version. A plugin that imports others
    /// is rejected.
    pub(super) interfaces: &'static [&'static str],
    /// Links its functions; WASI is linked before.
    pub(super) link: fn(&mut Linker<StoreData>) -> wasmtime::Result<()>,
    /// Adds what its attempts share in one runner.
    pub(super) add_services: fn(&mut Services, &SandboxConfig, &Arc<Net>),
}

/// For a capability whose attempts share nothing.
pub(super) fn no_services(_: &mut Services, _: &SandboxConfig, _: &Arc<Net>) {}
