//! Charges what a guest writes to the budget of its attempt.

use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use crate::attempt::state::StoreData;
use crate::capability::files::context::AttemptFiles;
use crate::wasi::meter::{budget_input, budget_output};

/// Takes bytes from the budget.
pub(crate) fn take(state: &mut StoreData, bytes: u64) -> FsResult<()> {
    Ok(state.context::<AttemptFiles>().written.take(bytes)?)
}

/// A gap that a write leaves beyond a file's end counts like written bytes: it exists
/// afterwards.
pub(super) async fn fill_hole(
    state: &mut StoreData,
    fd: &Resource<Descriptor>,
    end: u64,
) -> FsResult<()> {
    if end == 0 {
        return Ok(());
    }
    let stat = state
        .filesystem()
        .stat(Resource::new_borrow(fd.rep()))
        .await?;
    take(state, end.saturating_sub(stat.size))
}

/// Counts the bytes written to a stream, which keeps its file open.
pub(super) fn count_output(
    state: &mut StoreData,
    number: u32,
    stream: Resource<DynOutputStream>,
) -> FsResult<Resource<DynOutputStream>> {
    let account = Arc::clone(&state.account);
    let (files, table) = state.context_and_table::<AttemptFiles>();
    let meter = Arc::clone(&files.written);
    let ticket = files.tickets.get(&number).cloned();
    budget_output(table, &stream, Some(meter), ticket, &account).map_err(FsError::trap)?;
    Ok(stream)
}

/// Reading costs nothing, but a stream keeps its file open.
pub(super) fn keep_input(
    state: &mut StoreData,
    number: u32,
    stream: Resource<DynInputStream>,
) -> FsResult<Resource<DynInputStream>> {
    let account = Arc::clone(&state.account);
    let (files, table) = state.context_and_table::<AttemptFiles>();
    let ticket = files.tickets.get(&number).cloned();
    budget_input(table, &stream, None, ticket, &account).map_err(FsError::trap)?;
    Ok(stream)
}
