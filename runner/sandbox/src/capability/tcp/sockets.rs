//! Sockets: made, connected and metered, as far as the rules allow.

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket as _;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, Network, SocketError, SocketResult, TcpSocket,
};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::attempt::state::StoreData;
use crate::capability::tcp::context::{Tcp, deadline, log_once, refuse, too_many};
use crate::capability::tcp::rules::{self, nothing_asked};
use crate::net::network::Net;
use crate::wasi::context::Wasi;
use crate::wasi::meter::{budget_input, budget_output};

type Socket = Resource<TcpSocket>;
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

/// A socket is an open file of the runner, connected or not: it takes one of the plugin's
/// connections, and there is none without a rule for connections that is both requested
/// and granted.
pub(super) async fn create_socket(
    state: &mut StoreData,
    family: IpAddressFamily,
) -> SocketResult<Socket> {
    let Some(access) = state.access() else {
        return Err(refuse(state, nothing_asked("HOST")).into());
    };
    if let Err(denied) = rules::any_connection(access) {
        return Err(refuse(state, denied).into());
    }
    let (net, plugin) = (
        Arc::clone(access.service::<Arc<Net>>()),
        Arc::clone(access.plugin()),
    );
    if state.context::<Tcp>().permits.len() >= state.limits.tcp_connections as usize {
        return Err(too_many(state).into());
    }
    let permit = match net.connection(&plugin, deadline(state)).await {
        Ok(permit) => permit,
        Err(error) => {
            log_once(state, &error.to_string());
            return Err(ErrorCode::NewSocketLimit.into());
        }
    };
    let socket = state.sockets().create_tcp_socket(family)?;
    let tcp = state.context::<Tcp>();
    tcp.permits.insert(socket.rep(), permit);
    Ok(socket)
}

pub(super) fn start_connect(
    state: &mut StoreData,
    socket: Socket,
    network: Resource<Network>,
    to: IpSocketAddress,
) -> SocketResult<()> {
    let address = SocketAddr::from(to);
    let Some(access) = state.access().cloned() else {
        return Err(ErrorCode::AccessDenied.into());
    };
    if let Err(denied) = state.context::<Tcp>().names.check(&access, address) {
        return Err(refuse(state, denied).into());
    }
    let limit = state.limits.tcp_connections;
    let tcp = state.context::<Tcp>();
    if tcp.connections >= limit {
        return Err(too_many(state).into());
    }
    tcp.connections += 1;
    state.context::<Wasi>().allow_connection(address);
    state.sockets().start_connect(socket, network, to)
}

pub(super) fn finish_connect(state: &mut StoreData, socket: Socket) -> SocketResult<Streams> {
    let (input, output) = state.sockets().finish_connect(socket)?;
    let account = Arc::clone(&state.account);
    let (tcp, table) = state.context_and_table::<Tcp>();
    let bytes = Arc::clone(&tcp.bytes);
    let meter = || Some(Arc::clone(&bytes));
    budget_input(table, &input, meter(), None, &account).map_err(SocketError::trap)?;
    budget_output(table, &output, meter(), None, &account).map_err(SocketError::trap)?;
    Ok((input, output))
}
