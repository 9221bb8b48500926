//! `wasi:http`: outgoing requests, as far as the handler requests them and the operator
//! grants them.
//!
//! ```text
//! guest ─ handle ─► Client ─ RequestTarget (rules) ─► permit, resolve, check, dial ─► TLS ─► HTTP/1.1
//!                     └─ budget, deadline, placeholders of secrets
//! ```
//!
//! Guarantees: a request that is not both requested and granted is an error value, with a
//! line in the log that says what to write where; no request outlives its attempt or
//! exceeds its budget; redirects are returned to the guest, never followed. A connection
//! is kept for a few seconds for the next request of the same plugin to the same server.

mod body;
mod budget;
mod client;
mod connect;
mod context;
mod deadline;
mod error;
mod exchange;
pub(crate) mod fake;
mod fake_exchange;
mod headers;
mod held;
mod message;
mod objects;
mod placeholder;
mod request_target;
mod reuse;
mod service;
mod types;

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::bindings::{LinkOptions, http};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{RequestOptions, WasiHttp, WasiHttpView};

use crate::attempt::host_call::{Caller, charge};
use crate::attempt::state::StoreData;
use crate::capability::http::context::Http;
use crate::capability::http::held::hold;
use crate::capability::http::objects::{EXCHANGE_BYTES, ObjectKind, request_size};
use crate::capability::http::service::add_services;
use crate::capability::registration::Capability;

/// Fuel for one request, besides its own host call: a task, a connection and up to a
/// handshake of the host's time.
const REQUEST_FUEL: usize = 100_000;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:http/outgoing-handler", "wasi:http/types"],
    link,
    add_services,
};

/// Links `wasi:http/types` and `wasi:http/outgoing-handler`. Plugins serve no HTTP, so no
/// `incoming-handler`.
fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), StoreData::http)?;
    // wasmtime 48.0.8 looks for a different error type than the one that bodies fail
    // with, so a guest would never learn why its answer broke off.
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "http-error-code",
        |mut store: Caller<'_>, (error,): (Resource<IoError>,)| {
            let view = store.data_mut().http();
            Ok((error::code_of(view.table.get(&error)?),))
        },
    )?;
    headers::link(&mut types)?;
    self::types::link(&mut types)?;
    linker.allow_shadowing(false);
    // Linked by hand, because only then can it charge fuel.
    linker
        .instance("wasi:http/outgoing-handler@0.2.12")?
        .func_wrap_async("handle", |mut store: Caller<'_>, (request, options)| {
            Box::new(async move { Ok((handle(&mut store, request, options).await?,)) })
        })
}

type Handled = Result<Resource<HostFutureIncomingResponse>, ErrorCode>;

async fn handle(
    store: &mut Caller<'_>,
    request: Resource<HostOutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Handled> {
    charge(store, REQUEST_FUEL).await?;
    let state = store.data_mut();
    let (http, table) = state.context_and_table::<Http>();
    let body = http.objects.body_size(request.rep());
    let bytes = request_size(table.get(&request)?) + body + EXCHANGE_BYTES;
    let mut view = state.http();
    match http::outgoing_handler::Host::handle(&mut view, request, options) {
        Ok(response) => {
            let sent = ObjectKind::Sent(bytes);
            hold(state, response.rep(), sent, bytes)?;
            Ok(Ok(response))
        }
        Err(error) => error.downcast().map(Err),
    }
}

#[cfg(test)]
mod tests;
