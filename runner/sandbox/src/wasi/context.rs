//! The WASI context of one store.

use std::collections::BTreeSet;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::attempt::state::{CapabilityContext, StoreData};
use crate::wasi::random::MAX_RANDOM;
use crate::wasi::stdio::Stdio;

type Allowed = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// Made when the guest first uses WASI: most never do, and it costs two random
/// generators.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    /// Shared with wasmtime's own check.
    connectable: Connectable,
}

/// Addresses that the guest may connect to: those of calls that were checked.
#[derive(Clone, Default)]
struct Connectable(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Connectable {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CapabilityContext for Wasi {
    fn new(state: &StoreData) -> Self {
        let connectable = Connectable::default();
        let mut builder = WasiCtx::builder();
        builder
            .stdout(Stdio::stdout(&state.logs))
            .stderr(Stdio::stderr(&state.logs))
            .max_random_size(MAX_RANDOM)
            .allow_tcp(true)
            .socket_addr_check(gate(connectable.clone()))
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .allow_blocking_current_thread(false);
        Wasi {
            ctx: builder.build(),
            connectable,
        }
    }
}

impl Wasi {
    /// Lets wasmtime connect to an address that was checked.
    pub(crate) fn allow_connection(&mut self, address: SocketAddr) {
        self.connectable.lock().insert(address);
    }
}

/// The check that wasmtime makes before each use of an address. It allows what
/// [`Wasi::allow_connection`] allowed, and denies every other address.
fn gate(
    connectable: Connectable,
) -> impl Fn(SocketAddr, SocketAddrUse) -> Allowed + Send + Sync + 'static {
    move |address, usage| {
        let allowed = match usage {
            SocketAddrUse::TcpConnect => connectable.lock().contains(&address),
            // Connecting binds by itself: any local address, any port.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            _ => false,
        };
        Box::pin(ready(allowed))
    }
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.context_and_table::<Wasi>();
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table,
        }
    }
}
