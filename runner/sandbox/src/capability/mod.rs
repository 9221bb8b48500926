//! Capabilities: what handlers can do beyond computing. A capability is one folder, with
//! its linking, its context of an attempt, its limits and its fake; all are linked for
//! every plugin and decide per call, so that a grant takes effect without a reload.

mod answer;
pub(crate) mod context;
mod database;
mod files;
pub(crate) mod http;
pub(crate) mod push;
mod registration;
mod secrets;
mod sql;
mod state;
mod tcp;

use std::sync::Arc;

use wasmtime::component::Linker;

use crate::attempt::services::Services;
use crate::attempt::state::StoreData;
use crate::capability::registration::Capability;
use crate::config::SandboxConfig;
use crate::net::network::Net;

/// Every capability. A new one is a folder and its line here.
const ALL: [Capability; 8] = [
    context::CAPABILITY,
    push::CAPABILITY,
    state::CAPABILITY,
    sql::CAPABILITY,
    secrets::CAPABILITY,
    http::CAPABILITY,
    tcp::CAPABILITY,
    files::CAPABILITY,
];

/// Whether a capability links this interface.
pub(crate) fn links(interface: &str) -> bool {
    let linked = ALL.iter().flat_map(|capability| capability.interfaces);
    linked.into_iter().any(|linked| *linked == interface)
}

/// Links every capability, after WASI.
pub(crate) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    ALL.iter()
        .try_for_each(|capability| (capability.link)(linker))
}

/// What all attempts of a runner share.
pub(crate) fn services(config: &SandboxConfig, net: &Arc<Net>) -> Arc<Services> {
    let mut services = Services::default();
    for capability in &ALL {
        (capability.add_services)(&mut services, config, net);
    }
    Arc::new(services)
}
