//! `pgtq:plugin/push`: child tasks. Every handler has it.

mod child;
pub(crate) mod children;
mod rights;

use std::sync::Arc;

use wasmtime::component::Linker;

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::services::Services;
use crate::attempt::state::StoreData;
use crate::capability::registration::Capability;
use crate::config::SandboxConfig;
use crate::net::network::Net;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["pgtq:plugin/push"],
    link,
    add_services,
};

fn add_services(services: &mut Services, config: &SandboxConfig, _: &Arc<Net>) {
    services.add(Arc::clone(&config.push_facts));
}

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("pgtq:plugin/push@1.0.0")?;
    interface.func_wrap_async(
        "push",
        |mut store: Caller<'_>, (handler, args, options): (String, String, String)| {
            Box::new(async move {
                charge(&mut store, handler.len() + args.len() + options.len()).await?;
                let pushed = children::push(store.data_mut(), &handler, args, &options);
                Ok((pushed,))
            })
        },
    )
}
