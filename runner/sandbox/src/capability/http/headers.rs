//! Headers that a guest builds. wasi:http traps a guest whose headers are too large; here
//! that is an error value like all others.

use wasmtime::component::{Lift, LinkerInstance, Resource, WasmList};
use wasmtime_wasi_http::p2::HeaderError;
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostFields};
use wasmtime_wasi_http::{Error, FieldMap, FieldMapError, WasiHttpView};

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::state::StoreData;
use crate::capability::http::context::{FIELD_BYTES, Http};
use crate::capability::http::error::HttpFailure;
use crate::capability::http::held::{hold, hold_fields};
use crate::capability::http::objects::{OBJECT_BYTES, ObjectKind, field_size};

/// Maximum number of headers of one object; with 72 bytes for each, fewer fit anyway.
const MAX_FIELDS: usize = 1_000;

type HeaderResult<T> = wasmtime::Result<(Result<T, types::HeaderError>,)>;
type Fields = Resource<FieldMap>;

/// Links the functions that make headers and add to them, replacing wasmtime's.
pub(super) fn link(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.func_wrap_async("[constructor]fields", |mut store: Caller<'_>, (): ()| {
        Box::new(async move {
            charge(&mut store, 0).await?;
            let made = HostFields::new(&mut store.data_mut().http())?;
            hold(
                store.data_mut(),
                made.rep(),
                ObjectKind::Fields,
                OBJECT_BYTES,
            )?;
            Ok((made,))
        })
    })?;
    types.func_wrap_async(
        "[method]fields.clone",
        |mut store: Caller<'_>, (fields,): (Fields,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let made = HostFields::clone(&mut store.data_mut().http(), fields)?;
                hold_fields(store.data_mut(), &made)?;
                Ok((made,))
            })
        },
    )?;
    link_adding(types)
}

/// Links the functions that take values from the guest.
fn link_adding(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[static]fields.from-list",
        |mut store: Caller<'_>, (list,): (WasmList<(String, Vec<u8>)>,)| {
            Box::new(async move {
                let Some(entries) =
                    lift(&mut store, &list, |(name, value)| name.len() + value.len()).await?
                else {
                    return too_large(store.data_mut());
                };
                let bytes = entries.iter().map(|(n, v)| field_size(n.len(), v.len()));
                let bytes = OBJECT_BYTES + bytes.sum::<u64>();
                let made = HostFields::from_list(&mut store.data_mut().http(), entries);
                if let Ok(made) = &made {
                    hold(store.data_mut(), made.rep(), ObjectKind::Fields, bytes)?;
                }
                answer(store.data_mut(), made)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]fields.set",
        |mut store: Caller<'_>, (fields, name, list): (Fields, String, WasmList<Vec<u8>>)| {
            Box::new(async move {
                charge(&mut store, name.len()).await?;
                let Some(values) = lift(&mut store, &list, Vec::len).await? else {
                    return too_large(store.data_mut());
                };
                let bytes = values.iter().map(|v| field_size(name.len(), v.len()));
                let bytes = bytes.sum::<u64>();
                hold(store.data_mut(), fields.rep(), ObjectKind::Fields, bytes)?;
                let set = HostFields::set(&mut store.data_mut().http(), fields, name, values);
                answer(store.data_mut(), set)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]fields.append",
        |mut store: Caller<'_>, (fields, name, value): (Fields, String, Vec<u8>)| {
            Box::new(async move {
                charge(&mut store, name.len() + value.len()).await?;
                if name.len() + value.len() > FIELD_BYTES {
                    return too_large(store.data_mut());
                }
                let bytes = field_size(name.len(), value.len());
                hold(store.data_mut(), fields.rep(), ObjectKind::Fields, bytes)?;
                let added = HostFields::append(&mut store.data_mut().http(), fields, name, value);
                answer(store.data_mut(), added)
            })
        },
    )
}

/// Copies a list out of the guest item by item, up to the size limit of headers: a list
/// whose items have few bytes costs the host far more than its bytes. `None` if it is
/// larger.
async fn lift<T: Lift + Send + 'static>(
    store: &mut Caller<'_>,
    list: &WasmList<T>,
    bytes: impl Fn(&T) -> usize,
) -> wasmtime::Result<Option<Vec<T>>> {
    charge(store, 0).await?;
    if list.len() > MAX_FIELDS {
        return Ok(None);
    }
    let mut items = Vec::new();
    let mut total = 0;
    for n in 0..list.len() {
        let Some(item) = list.get(&mut *store, n) else {
            break;
        };
        let item = item?;
        total += bytes(&item);
        charge(store, bytes(&item)).await?;
        if total > FIELD_BYTES {
            return Ok(None);
        }
        items.push(item);
    }
    Ok(Some(items))
}

/// The guest's error for headers that are too large, and a line in its log.
fn too_large<T>(state: &mut StoreData) -> HeaderResult<T> {
    let line = format!(
        "the headers of a request exceed {} KiB, which is the limit; send large values in the body",
        FIELD_BYTES >> 10
    );
    let error = Error::HttpRequestHeaderSectionSize(None);
    let client = state.context::<Http>().client();
    client.report(HttpFailure::Wrong(error, line));
    // WASI has no matching error; this one says that nothing was added.
    Ok((Err(types::HeaderError::Forbidden),))
}

fn answer<T>(state: &mut StoreData, done: Result<T, HeaderError>) -> HeaderResult<T> {
    let error = match done {
        Ok(done) => return Ok((Ok(done),)),
        Err(error) => error,
    };
    match error.downcast() {
        Ok(error) => Ok((Err(error),)),
        Err(trap) => match trap.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => too_large(state),
            _ => Err(trap),
        },
    }
}
