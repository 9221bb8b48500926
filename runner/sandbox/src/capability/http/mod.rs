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
mod error;
pub(crate) mod fake;
mod headers;
mod objects;
mod placeholder;
mod request_target;
pub(crate) mod reuse;
mod types;

use std::sync::Arc;
use std::time::Instant;

use http_body_util::combinators::UnsyncBoxBody;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::bindings::{LinkOptions, http};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiHttp, WasiHttpCtx, WasiHttpHooks, WasiHttpView,
};

use crate::attempt::access::Access;
use crate::attempt::account::Account;
use crate::attempt::state::{SharedLogs, State};
use crate::run::linker::{Caller, charge};
use client::Client;
use objects::{EXCHANGE_BYTES, Kind, Objects, request_size};
use pgtq_task::Limits;

/// Fuel for one request, besides its own host call: a task, a connection and up to a
/// handshake of the host's time.
const REQUEST_FUEL: usize = 100_000;
/// Maximum bytes of host memory for the headers of one request, which is about twice
/// their size on the wire.
const FIELD_BYTES: usize = 64 << 10;
/// Buffered bytes of a request's body in the host, times two. Small, because a guest may
/// begin hundreds of bodies that it never sends.
const CHUNK_BYTES: usize = 16 << 10;

type Body = UnsyncBoxBody<bytes::Bytes, Error>;
/// Drives a connection while its response is read.
type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(::http::Response<Body>, Io), Error>;

/// Links `wasi:http/types` and `wasi:http/outgoing-handler`. Plugins serve no HTTP, so no
/// `incoming-handler`.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), State::http)?;
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
    let (http, table) = state.http_parts();
    let body = http.objects.body_size(request.rep());
    let bytes = request_size(table.get(&request)?) + body + EXCHANGE_BYTES;
    let mut view = state.http();
    match http::outgoing_handler::Host::handle(&mut view, request, options) {
        Ok(response) => {
            let sent = Kind::Sent(bytes);
            self::types::hold(state, response.rep(), sent, bytes)?;
            Ok(Ok(response))
        }
        Err(error) => error.downcast().map(Err),
    }
}

/// The HTTP state of one attempt; made when its guest first uses HTTP.
pub(crate) struct Http {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: Hooks,
    objects: Objects,
}

impl Http {
    pub(crate) fn new(
        access: Option<&Access>,
        limits: &Limits,
        started: Instant,
        logs: &SharedLogs,
        account: &Arc<Account>,
    ) -> Box<Http> {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELD_BYTES);
        let client = Arc::new(Client::new(access.cloned(), limits, started, logs));
        Box::new(Http {
            context,
            hooks: Hooks { client },
            objects: Objects::new(account),
        })
    }
}

/// The hooks that wasi:http calls.
pub(crate) struct Hooks {
    client: Arc<Client>,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: ::http::Request<Body>,
        options: Option<RequestOptions>,
        _done: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let client = Arc::clone(&self.client);
        Box::new(async move { client.send(request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests;
