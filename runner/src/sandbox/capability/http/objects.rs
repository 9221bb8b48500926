//! What the guest's HTTP objects (headers, requests, bodies, responses) take of the
//! host's memory, charged to the attempt.
//!
//! Every function that makes or grows one charges here first. Objects end in many
//! ways, so nothing is given back then: when the budget is used up, the objects that
//! still exist are measured, and the rest is given back at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};

use super::CHUNK_BYTES;
use crate::sandbox::account::Account;
use crate::sandbox::stop::HostStop;

/// An empty object, with its place in the table.
pub(super) const OBJECT_BYTES: u64 = 512;
/// A header besides its name and value: two allocations and a slot of the map, which
/// is at most half empty.
const FIELD_BYTES: u64 = 320;
/// A request's body that was begun: two chunks, and what passes them on.
pub(super) const BODY_BYTES: u64 = 2 * CHUNK_BYTES as u64 + 2_048;
/// A request under way: the connection's buffers.
pub(super) const EXCHANGE_BYTES: u64 = 64 << 10;

/// Sorts of objects, and what is known of their size.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Fields,
    Request,
    Body,
    /// A request that was sent, of this size.
    Sent(u64),
    Response,
}

/// All objects of one attempt that may exist.
pub(super) struct Objects {
    account: Arc<Account>,
    known: BTreeMap<u32, Kind>,
    charged: u64,
}

impl Objects {
    pub(super) fn new(account: &Arc<Account>) -> Objects {
        Objects {
            account: Arc::clone(account),
            known: BTreeMap::new(),
            charged: 0,
        }
    }

    /// Charges `bytes` for an object that is new or grows.
    pub(super) fn grow(
        &mut self,
        table: &ResourceTable,
        object: u32,
        kind: Kind,
        bytes: u64,
    ) -> Result<(), HostStop> {
        if self.account.take(bytes).is_err() {
            self.measure(table);
            self.account.take(bytes)?;
        }
        self.charged += bytes;
        self.known.insert(object, kind);
        Ok(())
    }

    /// Gives back what was charged for objects that no longer exist.
    fn measure(&mut self, table: &ResourceTable) {
        let mut total = 0;
        self.known.retain(|object, kind| {
            let size = kind.size(table, *object);
            total += size.unwrap_or(0);
            size.is_some()
        });
        self.account.give_back(self.charged.saturating_sub(total));
        self.charged = total;
    }
}

impl Kind {
    /// What an object takes now; `None` if it is gone.
    fn size(self, table: &ResourceTable, object: u32) -> Option<u64> {
        match self {
            Kind::Fields => table
                .get(&Resource::<FieldMap>::new_borrow(object))
                .ok()
                .map(fields_size),
            Kind::Request => table
                .get(&Resource::<HostOutgoingRequest>::new_borrow(object))
                .ok()
                .map(request_size),
            Kind::Body => table
                .get(&Resource::<HostOutgoingBody>::new_borrow(object))
                .ok()
                .map(|_| BODY_BYTES),
            Kind::Sent(bytes) => table
                .get(&Resource::<HostFutureIncomingResponse>::new_borrow(object))
                .ok()
                .map(|_| bytes),
            Kind::Response => table
                .get(&Resource::<HostIncomingResponse>::new_borrow(object))
                .ok()
                .map(|response| OBJECT_BYTES + EXCHANGE_BYTES + fields_size(&response.headers)),
        }
    }
}

/// What one header takes.
pub(super) fn field_size(name: usize, value: usize) -> u64 {
    (name + value) as u64 + FIELD_BYTES
}

/// What headers take.
pub(super) fn fields_size(fields: &FieldMap) -> u64 {
    let each = fields
        .iter()
        .map(|(name, value)| field_size(name.as_str().len(), value.len()));
    OBJECT_BYTES + each.sum::<u64>()
}

/// What a request takes, its body aside.
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
