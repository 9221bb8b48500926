//! Headers that a guest puts together. wasi:http ends the attempt of a guest whose
//! headers take too much; here that is an error value like all others.

use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi_http::p2::HeaderError;
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostFields};
use wasmtime_wasi_http::{Error, FieldMap, FieldMapError, WasiHttpView};

use super::super::super::host::Caller;
use super::super::super::state::State;
use super::FIELD_BYTES;
use super::error::Refusal;

type Answer<T> = wasmtime::Result<(Result<T, types::HeaderError>,)>;
type Fields = Resource<FieldMap>;

/// Links the functions that add to headers, in the place of wasmtime's.
pub(super) fn link(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: Caller<'_>, (entries,): (Vec<(String, Vec<u8>)>,)| -> Answer<Fields> {
            let made = HostFields::from_list(&mut store.data_mut().http(), entries);
            answer(store.data_mut(), made)
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store: Caller<'_>,
         (fields, name, values): (Fields, String, Vec<Vec<u8>>)|
         -> Answer<()> {
            let set = HostFields::set(&mut store.data_mut().http(), fields, name, values);
            answer(store.data_mut(), set)
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store: Caller<'_>, (fields, name, value): (Fields, String, Vec<u8>)| -> Answer<()> {
            let added = HostFields::append(&mut store.data_mut().http(), fields, name, value);
            answer(store.data_mut(), added)
        },
    )
}

fn answer<T>(state: &mut State, done: Result<T, HeaderError>) -> Answer<T> {
    let error = match done {
        Ok(done) => return Ok((Ok(done),)),
        Err(error) => error,
    };
    match error.downcast() {
        Ok(error) => Ok((Err(error),)),
        Err(trap) => match trap.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => {
                let line = format!(
                    "the headers of a request may take {} KiB, and are more; send what is large in its body",
                    FIELD_BYTES >> 10
                );
                let error = Error::HttpRequestHeaderSectionSize(None);
                let client = &state.http_parts().0.hooks.client;
                client.tell(Refusal::Wrong(error, line));
                // WASI has no error for it; this one says that nothing was added.
                Ok((Err(types::HeaderError::Forbidden),))
            }
            _ => Err(trap),
        },
    }
}
