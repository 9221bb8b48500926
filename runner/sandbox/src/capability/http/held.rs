//! Charges the guest's HTTP objects to its attempt.

use wasmtime::component::Resource;
use wasmtime_wasi_http::FieldMap;

use crate::attempt::state::StoreData;
use crate::capability::http::context::Http;
use crate::capability::http::objects::{ObjectKind, fields_size};

/// Charges an object to the attempt.
pub(super) fn hold(
    state: &mut StoreData,
    object: u32,
    kind: ObjectKind,
    bytes: u64,
) -> wasmtime::Result<()> {
    let (http, table) = state.context_and_table::<Http>();
    Ok(http.objects.grow(table, object, kind, bytes)?)
}

/// Charges headers that were cloned from others: they may be shared now but need not stay
/// so.
pub(super) fn hold_fields(
    state: &mut StoreData,
    fields: &Resource<FieldMap>,
) -> wasmtime::Result<()> {
    let bytes = fields_size(state.table().get(fields)?);
    hold(state, fields.rep(), ObjectKind::Fields, bytes)
}
