//! `pgtq:plugin/state`: values that later attempts of the task can read. Every handler
//! has it: a task reads and writes only its own values.

use wasmtime::component::Linker;

use crate::attempt::host_call::Caller;
use crate::attempt::state::{CapabilityContext, StoreData};
use crate::capability::answer::answer;
use crate::capability::database::database;
use crate::capability::registration::{Capability, no_services};
use crate::json;
use pgtq_task::GuestError;

/// Maximum bytes of a value's name.
const NAME_BYTES: usize = 200;
/// Maximum number of values that one attempt may save: each is a commit, and loads the
/// database.
const MAX_SAVES: u32 = 10_000;
/// Maximum bytes that one attempt may save in total, as multiples of what it may keep.
const MAX_REWRITES: u64 = 64;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["pgtq:plugin/state"],
    link,
    add_services: no_services,
};

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("pgtq:plugin/state@1.0.0")?;
    answer!(
        interface,
        "load",
        |store, (name: String)| name.len(),
        load(&mut store, name)
    );
    answer!(
        interface,
        "save",
        |store, (name: String, value: String, with_sql: bool)| name.len() + value.len(),
        save(&mut store, name, value, with_sql)
    );
    Ok(())
}

/// What one attempt has saved so far.
struct SavedTotals {
    values: u32,
    bytes: u64,
}

impl CapabilityContext for SavedTotals {
    fn new(_: &StoreData) -> Self {
        SavedTotals {
            values: 0,
            bytes: 0,
        }
    }
}

/// Rejects values that could not be stored, to the guest, which can still react, and
/// values above the limit; counts the others.
pub(crate) fn check(state: &mut StoreData, name: &str, value: &str) -> Result<(), GuestError> {
    let limit = state.limits.state_bytes;
    if name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        let message = format!("a name has at most {NAME_BYTES} bytes and no control characters");
        return Err(GuestError::new("invalid", message));
    }
    if value.len() as u64 > limit {
        let message = format!(
            "the value has {} bytes, the limit is {limit}; store the data elsewhere and save a reference, or raise `limits.state_bytes`",
            value.len()
        );
        return Err(GuestError::new("limit", message));
    }
    json::check(value)
        .map_err(|error| GuestError::new("invalid", format!("the value is not JSON: {error}")))?;
    if state.logs.lock().holds_a_secret(value) {
        let message = "the value contains a secret, and would be stored; save the secret's name";
        return Err(GuestError::new("denied", message));
    }
    let saved = state.context::<SavedTotals>();
    let bytes = saved.bytes.saturating_add(value.len() as u64);
    let most = limit.saturating_mul(MAX_REWRITES);
    if saved.values >= MAX_SAVES || bytes > most {
        let message = format!(
            "an attempt saves at most {MAX_SAVES} values, of {most} bytes together; save less often"
        );
        return Err(GuestError::new("limit", message));
    }
    saved.values += 1;
    saved.bytes = bytes;
    Ok(())
}

async fn load(store: &mut Caller<'_>, name: String) -> Result<Option<String>, GuestError> {
    if name.len() > NAME_BYTES {
        let message = format!("a name has at most {NAME_BYTES} bytes");
        return Err(GuestError::new("invalid", message));
    }
    let (database, _) = database(store.data());
    database.load(&name).await
}

async fn save(
    store: &mut Caller<'_>,
    name: String,
    value: String,
    with_sql: bool,
) -> Result<(), GuestError> {
    let state = store.data_mut();
    check(state, &name, &value)?;
    let (database, limits) = database(state);
    database.save(&limits, &name, &value, with_sql).await
}
