//! The host memory that the guest's HTTP objects (headers, requests, bodies, responses)
//! take, charged to the attempt.
//!
//! Every function that makes or grows one charges here first. Objects are dropped in many
//! ways, so nothing is released at that point: after each mebibyte, and when the budget
//! is used up, the existing objects are measured, and the rest is released at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::{HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};

use crate::attempt::account::MemoryAccount;
use crate::attempt::stop::HostStop;

/// Buffered bytes of a request's body in the host, times two. Small, because a guest may
/// begin hundreds of bodies that it never sends.
pub(super) const CHUNK_BYTES: usize = 16 << 10;
/// An empty object, with its place in the table.
pub(super) const OBJECT_BYTES: u64 = 512;
/// A header besides its name and value: two allocations and a slot of the map, which is
/// at most half empty.
const FIELD_BYTES: u64 = 320;
/// A request's body that was begun: two chunks, and the channel for them.
pub(super) const BODY_BYTES: u64 = 2 * CHUNK_BYTES as u64 + 2_048;
/// Maximum size of a body's trailers, and their place in the host.
pub(super) const TRAILER_BYTES: u64 = 8 << 10;
/// A running request: the connection's buffers.
pub(super) const EXCHANGE_BYTES: u64 = 64 << 10;

/// Kinds of objects, and what determines their size.
#[derive(Debug, Clone, Copy)]
pub(super) enum ObjectKind {
    Fields,
    Request,
    /// A request whose body was begun: it keeps the other end of it, and the trailers.
    RequestWithBody,
    Body,
    /// A response's body, which keeps the connection.
    Incoming,
    /// A request that was sent, of this size.
    Sent(u64),
    Response,
}

/// All objects of one attempt that may exist.
pub(super) struct Objects {
    account: Arc<MemoryAccount>,
    known: BTreeMap<u32, ObjectKind>,
    charged: u64,
    /// Bytes charged since the objects were measured.
    unmeasured: u64,
}

/// Objects are measured again after this many bytes, so that dropped ones stop counting
/// soon.
const MEASURED_EVERY: u64 = 1 << 20;

impl Objects {
    pub(super) fn new(account: &Arc<MemoryAccount>) -> Objects {
        Objects {
            account: Arc::clone(account),
            known: BTreeMap::new(),
            charged: 0,
            unmeasured: 0,
        }
    }

    /// Charges `bytes` for an object that is new or grows.
    pub(super) fn grow(
        &mut self,
        table: &ResourceTable,
        object: u32,
        kind: ObjectKind,
        bytes: u64,
    ) -> Result<(), HostStop> {
        if self.unmeasured >= MEASURED_EVERY {
            self.measure(table);
        }
        if self.account.take(bytes).is_err() {
            self.measure(table);
            self.account.take(bytes)?;
        }
        self.charged += bytes;
        self.unmeasured += bytes;
        // Changes to a request do not remove its body.
        let known = self.known.entry(object).or_insert(kind);
        if !matches!(
            (*known, kind),
            (ObjectKind::RequestWithBody, ObjectKind::Request)
        ) {
            *known = kind;
        }
        Ok(())
    }

    /// The size of a request's body, if it was begun.
    pub(super) fn body_size(&self, request: u32) -> u64 {
        match self.known.get(&request) {
            Some(ObjectKind::RequestWithBody) => BODY_BYTES + TRAILER_BYTES,
            _ => 0,
        }
    }

    /// Releases the bytes charged for objects that no longer exist.
    fn measure(&mut self, table: &ResourceTable) {
        let mut total = 0;
        self.known.retain(|object, kind| {
            let size = kind.size(table, *object);
            total += size.unwrap_or(0);
            size.is_some()
        });
        self.account.give_back(self.charged.saturating_sub(total));
        self.charged = total;
        self.unmeasured = 0;
    }
}

impl ObjectKind {
    /// The current size of an object; `None` if it was dropped.
    fn size(self, table: &ResourceTable, object: u32) -> Option<u64> {
        match self {
            ObjectKind::Fields => table
                .get(&Resource::<FieldMap>::new_borrow(object))
                .ok()
                .map(fields_size),
            ObjectKind::Request => table
                .get(&Resource::<HostOutgoingRequest>::new_borrow(object))
                .ok()
                .map(request_size),
            ObjectKind::RequestWithBody => {
                let size = ObjectKind::Request.size(table, object)?;
                Some(size + BODY_BYTES + TRAILER_BYTES)
            }
            ObjectKind::Incoming => table
                .get(&Resource::<HostIncomingBody>::new_borrow(object))
                .ok()
                .map(|_| EXCHANGE_BYTES),
            ObjectKind::Body => table
                .get(&Resource::<HostOutgoingBody>::new_borrow(object))
                .ok()
                .map(|_| BODY_BYTES),
            ObjectKind::Sent(bytes) => table
                .get(&Resource::<HostFutureIncomingResponse>::new_borrow(object))
                .ok()
                .map(|_| bytes),
            ObjectKind::Response => table
                .get(&Resource::<HostIncomingResponse>::new_borrow(object))
                .ok()
                .map(|response| OBJECT_BYTES + EXCHANGE_BYTES + fields_size(&response.headers)),
        }
    }
}

/// The size of one header.
pub(super) fn field_size(name: usize, value: usize) -> u64 {
    (name + value) as u64 + FIELD_BYTES
}

/// The size of headers.
pub(super) fn fields_size(fields: &FieldMap) -> u64 {
    let each = fields
        .iter()
        .map(|(name, value)| field_size(name.as_str().len(), value.len()));
    OBJECT_BYTES + each.sum::<u64>()
}

/// The size of a request without its body.
pub(super) fn request_size(request: &HostOutgoingRequest) -> u64 {
    let method = match &request.method {
        Method::Other(method) => method.len(),
        _ => 0,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Other(scheme)) => scheme.len(),
        _ => 0,
    };
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = method + scheme + text(&request.path_with_query) + text(&request.authority);
    OBJECT_BYTES + texts as u64 + fields_size(&request.headers)
}
