//! `pgtq:plugin/secrets`: values that the operator holds, by name.

use wasmtime::component::Linker;

use crate::attempt::access::Access;
use crate::attempt::denied::Denied;
use crate::attempt::host_call::Caller;
use crate::attempt::state::StoreData;
use crate::capability::answer::answer;
use crate::capability::registration::{Capability, no_services};
use pgtq_task::{GuestError, toml_key};

/// The longest name of a secret that is looked up, in bytes.
const NAME_BYTES: usize = 200;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["pgtq:plugin/secrets"],
    link,
    add_services: no_services,
};

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("pgtq:plugin/secrets@1.0.0")?;
    answer!(
        interface,
        "read",
        |store, (name: String)| name.len(),
        std::future::ready(read(&mut store, &name))
    );
    Ok(())
}

fn read(store: &mut Caller<'_>, name: &str) -> Result<String, GuestError> {
    let state = store.data_mut();
    if name.len() > NAME_BYTES {
        let message = format!("the name of a secret has at most {NAME_BYTES} bytes");
        return Err(GuestError::new("invalid", message));
    }
    let access = state.access();
    let asked = access.is_some_and(|access| access.needs().secrets.iter().any(|n| n == name));
    let granted = access.is_some_and(|access| {
        let secret = access.grant().secrets.get(name);
        secret.is_some_and(|secret| secret.read)
    });
    if !asked || !granted {
        let denied = Denied {
            what: format!("reading the secret `{name}`"),
            need: (!asked).then(|| format!("secret = \"{name}\"")),
            grant: (!granted).then(|| line(access, name)),
        };
        return Err(denied.report(state));
    }
    let value = access.and_then(|access| access.book().secrets.get(name));
    value
        .map(|secret| secret.reveal().to_owned())
        .ok_or_else(|| {
            GuestError::new(
                "unavailable",
                format!("the secret `{name}` has no value: see [secrets.{name}] in pgtq.toml"),
            )
        })
}

/// The grant with reading allowed.
fn line(access: Option<&Access>, name: &str) -> String {
    let grant = access.and_then(|access| access.grant().secrets.get(name));
    let hosts: Vec<String> = grant
        .map_or(&[][..], |grant| &grant.hosts)
        .iter()
        .map(|host| format!("\"{host}\""))
        .collect();
    let hosts = match hosts.is_empty() {
        true => String::new(),
        false => format!("hosts = [{}], ", hosts.join(", ")),
    };
    format!("secrets.{} = {{ {hosts}read = true }}", toml_key(name))
}
