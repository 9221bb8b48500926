//! The HTTP context of one attempt, for wasi:http and for our own functions.

use std::sync::Arc;

use wasmtime_wasi_http::{
    RequestOptions, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::attempt::state::{CapabilityContext, StoreData};
use crate::capability::http::client::Client;
use crate::capability::http::message::{Body, Io, Sent};
use crate::capability::http::objects::{CHUNK_BYTES, Objects};

/// Maximum bytes of host memory for the headers of one request, which is about twice
/// their size on the wire.
pub(super) const FIELD_BYTES: usize = 64 << 10;

/// Made when the guest first uses HTTP.
pub(super) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
    pub(super) objects: Objects,
}

impl Http {
    pub(super) fn client(&self) -> &Client {
        &self.hooks.client
    }
}

impl CapabilityContext for Http {
    fn new(state: &StoreData) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELD_BYTES);
        let access = state.access().cloned();
        let client = Client::new(access, &state.limits, state.started, &state.logs);
        Http {
            context,
            hooks: Hooks {
                client: Arc::new(client),
            },
            objects: Objects::new(&state.account),
        }
    }
}

impl WasiHttpView for StoreData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (http, table) = self.context_and_table::<Http>();
        WasiHttpCtxView {
            hooks: &mut http.hooks,
            table,
            ctx: &mut http.context,
        }
    }
}

/// The hooks that wasi:http calls.
struct Hooks {
    client: Arc<Client>,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<Body>,
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
