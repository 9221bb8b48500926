//! Functions of `wasi:http/types` that make the host keep data, replacing wasmtime's:
//! each is charged for its bytes, bounded, and counted in [`Objects`].
//!
//! Wasmtime bounds only the headers of one object, not the other texts, and there may be
//! as many objects as handles: 8 GB in one attempt.
//!
//! [`Objects`]: crate::capability::http::objects::Objects

use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, HostFutureIncomingResponse as _, HostOutgoingRequest as _, Method, Scheme,
};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::state::StoreData;
use crate::capability::http::held::{hold, hold_fields};
use crate::capability::http::objects::{
    BODY_BYTES, EXCHANGE_BYTES, OBJECT_BYTES, ObjectKind, TRAILER_BYTES, fields_size, request_size,
};

/// The longest method, in bytes; longer than any that is registered with IANA.
const METHOD_BYTES: usize = 32;
/// The longest scheme, in bytes.
const SCHEME_BYTES: usize = 32;
/// The longest authority, in bytes: a host name of 253 (RFC 1035), a port, and some.
const AUTHORITY_BYTES: usize = 300;
/// The longest path with its query, in bytes, as in the `http` crate.
const PATH_BYTES: usize = (64 << 10) - 1;

type Request = Resource<HostOutgoingRequest>;
type Set = wasmtime::Result<(Result<(), ()>,)>;

/// Links a function that sets one text of a request, if it is not too long.
macro_rules! set {
    ($types:ident, $name:literal, $set:ident, $type:ty, |$value:ident| $bytes:expr, $most:expr) => {
        $types.func_wrap_async(
            $name,
            |mut store: Caller<'_>, (request, $value): (Request, $type)| {
                Box::new(async move {
                    let bytes = $bytes;
                    charge(&mut store, bytes).await?;
                    if bytes > $most {
                        return Ok((Err(()),)) as Set;
                    }
                    hold(
                        store.data_mut(),
                        request.rep(),
                        ObjectKind::Request,
                        bytes as u64,
                    )?;
                    Ok((store.data_mut().http().$set(request, $value)?,))
                })
            },
        )?;
    };
}

/// Links the functions for requests and responses.
pub(super) fn link(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    set!(
        types,
        "[method]outgoing-request.set-method",
        set_method,
        Method,
        |method| if let Method::Other(method) = &method {
            method.len()
        } else {
            0
        },
        METHOD_BYTES
    );
    set!(
        types,
        "[method]outgoing-request.set-scheme",
        set_scheme,
        Option<Scheme>,
        |scheme| if let Some(Scheme::Other(scheme)) = &scheme {
            scheme.len()
        } else {
            0
        },
        SCHEME_BYTES
    );
    set!(
        types,
        "[method]outgoing-request.set-authority",
        set_authority,
        Option<String>,
        |authority| authority.as_ref().map_or(0, String::len),
        AUTHORITY_BYTES
    );
    set!(
        types,
        "[method]outgoing-request.set-path-with-query",
        set_path_with_query,
        Option<String>,
        |path| path.as_ref().map_or(0, String::len),
        PATH_BYTES
    );
    requests(types)?;
    responses(types)
}

fn requests(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[constructor]outgoing-request",
        |mut store: Caller<'_>, (headers,): (Resource<FieldMap>,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let made = types::HostOutgoingRequest::new(&mut store.data_mut().http(), headers)?;
                let request = store.data_mut().table().get(&made)?;
                let bytes = request_size(request);
                hold(store.data_mut(), made.rep(), ObjectKind::Request, bytes)?;
                Ok((made,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.headers",
        |mut store: Caller<'_>, (request,): (Request,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let view = &mut store.data_mut().http();
                let made = types::HostOutgoingRequest::headers(view, request)?;
                hold_fields(store.data_mut(), &made)?;
                Ok((made,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]outgoing-request.body",
        |mut store: Caller<'_>, (request,): (Request,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let request_rep = request.rep();
                let made = store.data_mut().http().body(request)?;
                if let Ok(body) = &made {
                    let state = store.data_mut();
                    hold(state, body.rep(), ObjectKind::Body, BODY_BYTES)?;
                    let kept = BODY_BYTES + TRAILER_BYTES;
                    hold(state, request_rep, ObjectKind::RequestWithBody, kept)?;
                }
                Ok((made,)) as wasmtime::Result<(Result<Resource<HostOutgoingBody>, ()>,)>
            })
        },
    )
}

type Finished = wasmtime::Result<(Result<(), types::ErrorCode>,)>;

/// Ends a body. The request keeps its trailers for as long as it exists.
fn finish(
    state: &mut StoreData,
    body: Resource<HostOutgoingBody>,
    trailers: Option<Resource<FieldMap>>,
) -> Finished {
    let table = state.table();
    let size = match &trailers {
        Some(trailers) => fields_size(table.get(trailers)?),
        None => 0,
    };
    if size > TRAILER_BYTES {
        types::HostOutgoingBody::drop(&mut state.http(), body)?;
        if let Some(trailers) = trailers {
            types::HostFields::drop(&mut state.http(), trailers)?;
        }
        let error = types::ErrorCode::HttpRequestTrailerSectionSize(None);
        return Ok((Err(error),));
    }
    match types::HostOutgoingBody::finish(&mut state.http(), body, trailers) {
        Ok(()) => Ok((Ok(()),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn responses(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[static]outgoing-body.finish",
        |mut store: Caller<'_>,
         (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                finish(store.data_mut(), body, trailers)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]incoming-response.consume",
        |mut store: Caller<'_>, (response,): (Resource<HostIncomingResponse>,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let view = &mut store.data_mut().http();
                let made = types::HostIncomingResponse::consume(view, response)?;
                if let Ok(body) = &made {
                    hold(
                        store.data_mut(),
                        body.rep(),
                        ObjectKind::Incoming,
                        EXCHANGE_BYTES,
                    )?;
                }
                Ok((made,))
            })
        },
    )?;
    link_answers(types)
}

/// Links the functions for what arrives later.
fn link_answers(types: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]future-trailers.get",
        |mut store: Caller<'_>, (future,): (Resource<HostFutureTrailers>,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let view = &mut store.data_mut().http();
                let got = types::HostFutureTrailers::get(view, future)?;
                if let Some(Ok(Ok(Some(trailers)))) = &got {
                    hold_fields(store.data_mut(), trailers)?;
                }
                Ok((got,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]future-incoming-response.get",
        |mut store: Caller<'_>, (future,): (Resource<HostFutureIncomingResponse>,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let got = store.data_mut().http().get(future)?;
                if let Some(Ok(Ok(response))) = &got {
                    let headers = &store.data_mut().table().get(response)?.headers;
                    let bytes = OBJECT_BYTES + EXCHANGE_BYTES + fields_size(headers);
                    hold(
                        store.data_mut(),
                        response.rep(),
                        ObjectKind::Response,
                        bytes,
                    )?;
                }
                Ok((got,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]incoming-response.headers",
        |mut store: Caller<'_>, (response,): (Resource<HostIncomingResponse>,)| {
            Box::new(async move {
                charge(&mut store, 0).await?;
                let view = &mut store.data_mut().http();
                let made = types::HostIncomingResponse::headers(view, response)?;
                hold_fields(store.data_mut(), &made)?;
                Ok((made,))
            })
        },
    )?;
    // Linked with the rest of the interface; only servers make responses.
    types.func_wrap(
        "[constructor]outgoing-response",
        |_: Caller<'_>,
         (_,): (Resource<FieldMap>,)|
         -> wasmtime::Result<(Resource<types::OutgoingResponse>,)> {
            wasmtime::bail!("made an outgoing response; handlers serve no HTTP")
        },
    )
}
