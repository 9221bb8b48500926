//! `wasi:sockets`: outgoing TCP connections to destinations that the handler requests and
//! its plugin is granted. No UDP, and no listening.

mod lookup;
mod rules;

use std::collections::{BTreeSet, HashMap};
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, LinkOptions,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, Network, SocketError, SocketResult, TcpSocket,
};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSockets, WasiSocketsView};

use crate::attempt::access::Denied;
use crate::attempt::state::{SharedLogs, State};
use crate::capability::tcp::rules::{Reach, nothing_asked};
use crate::net::ConnectionPermit;
use crate::wasi::VERSION;
use crate::wasi::meter::{Meter, budget_input, budget_output};
use crate::wasi::replace;
use pgtq_task::{Limits, LogLevel};

/// Checked addresses, shared with wasmtime's own check.
pub(crate) type Checked = Arc<Mutex<BTreeSet<SocketAddr>>>;
type Allowed = Pin<Box<dyn Future<Output = bool> + Send + Sync>>;

/// The TCP state of one attempt.
pub(crate) struct Tcp {
    pub(crate) reach: Reach,
    /// Names that were looked up.
    pub(crate) n_lookups: u32,
    checked: Checked,
    connections: u32,
    bytes: Arc<Meter>,
    /// The plugin's permits, by the socket's number.
    permits: HashMap<u32, ConnectionPermit>,
    /// Whether the log already says that the limit of connections is reached.
    logged: bool,
}

impl Tcp {
    pub(crate) fn new(limits: &Limits, logs: &SharedLogs, checked: &Checked) -> Self {
        Tcp {
            reach: Reach::default(),
            n_lookups: 0,
            checked: Arc::clone(checked),
            connections: 0,
            bytes: Meter::new(limits.tcp_bytes, over_budget, libc::ECONNABORTED, logs),
            permits: HashMap::new(),
            logged: false,
        }
    }
}

/// The check that wasmtime makes before each use of an address. It allows what
/// `start-connect` allowed, and would deny every address if that were not called.
pub(crate) fn gate(
    checked: Checked,
) -> impl Fn(SocketAddr, SocketAddrUse) -> Allowed + Send + Sync + 'static {
    move |address, usage| {
        let allowed = match usage {
            SocketAddrUse::TcpConnect => checked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&address),
            // Connecting binds by itself: any local address, any port.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            _ => false,
        };
        Box::pin(ready(allowed))
    }
}

fn over_budget(limit: u64) -> String {
    format!("this attempt may send and receive at most {limit} bytes over TCP; raise `tcp_bytes`")
}

type Socket = Resource<TcpSocket>;
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    network::add_to_linker::<_, WasiSockets>(linker, &LinkOptions::default(), State::sockets)?;
    instance_network::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    tcp::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    // Standard libraries import it; the context denies making a socket.
    udp::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    udp_create_socket::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;

    let mut create = linker.instance(&format!("wasi:sockets/tcp-create-socket@{VERSION}"))?;
    replace!(create, "create-tcp-socket", |state, (family: IpAddressFamily)| create_socket(state, family));
    let mut tcp = linker.instance(&format!("wasi:sockets/tcp@{VERSION}"))?;
    replace!(
        tcp,
        "[method]tcp-socket.start-connect",
        |state, (socket: Socket, network: Resource<Network>, to: IpSocketAddress)| async {
            start_connect(state, socket, network, to)
        }
    );
    replace!(tcp, "[method]tcp-socket.finish-connect", |state, (socket: Socket)| async {
        finish_connect(state, socket)
    });
    // wasmtime drops its streams before it.
    tcp.resource(
        "tcp-socket",
        ResourceType::host::<TcpSocket>(),
        |mut store, number| {
            let state = store.data_mut();
            HostTcpSocket::drop(&mut state.sockets(), Resource::new_own(number))?;
            state.wasi_parts().0.tcp().permits.remove(&number);
            Ok(())
        },
    )?;
    lookup::link(linker)
}

/// A socket is an open file of the runner, connected or not: it takes one of the plugin's
/// connections, and there is none without a rule for connections that is both requested
/// and granted.
async fn create_socket(state: &mut State, family: IpAddressFamily) -> SocketResult<Socket> {
    let Some(access) = &state.access else {
        return Err(refuse(state, nothing_asked("HOST")).into());
    };
    if let Err(denied) = rules::any_connection(access) {
        return Err(refuse(state, denied).into());
    }
    let (net, plugin) = (Arc::clone(&access.net), Arc::clone(&access.plugin));
    if state.wasi_parts().0.tcp().permits.len() >= state.limits.tcp_connections as usize {
        return Err(too_many(state).into());
    }
    let permit = match net.connection(&plugin, deadline(state)).await {
        Ok(permit) => permit,
        Err(error) => {
            say(state, &error.to_string());
            return Err(ErrorCode::NewSocketLimit.into());
        }
    };
    let socket = state.sockets().create_tcp_socket(family)?;
    state
        .wasi_parts()
        .0
        .tcp()
        .permits
        .insert(socket.rep(), permit);
    Ok(socket)
}

fn start_connect(
    state: &mut State,
    socket: Socket,
    network: Resource<Network>,
    to: IpSocketAddress,
) -> SocketResult<()> {
    let address = SocketAddr::from(to);
    let (access, wasi) = state.access_and_wasi();
    let Some(access) = access else {
        return Err(ErrorCode::AccessDenied.into());
    };
    if let Err(denied) = wasi.tcp().reach.check(access, address) {
        return Err(refuse(state, denied).into());
    }
    let limit = state.limits.tcp_connections;
    let tcp = state.wasi_parts().0.tcp();
    if tcp.connections >= limit {
        return Err(too_many(state).into());
    }
    tcp.connections += 1;
    let mut checked = tcp.checked.lock().unwrap_or_else(PoisonError::into_inner);
    checked.insert(address);
    drop(checked);
    state.sockets().start_connect(socket, network, to)
}

fn finish_connect(state: &mut State, socket: Socket) -> SocketResult<Streams> {
    let (input, output) = state.sockets().finish_connect(socket)?;
    let account = Arc::clone(&state.account);
    let (wasi, table) = state.wasi_parts();
    let bytes = Arc::clone(&wasi.tcp().bytes);
    let meter = || Some(Arc::clone(&bytes));
    budget_input(table, &input, meter(), None, &account).map_err(SocketError::trap)?;
    budget_output(table, &output, meter(), None, &account).map_err(SocketError::trap)?;
    Ok((input, output))
}

/// Logs a denial, unless the log has it already.
pub(crate) fn refuse(state: &mut State, denied: Denied) -> ErrorCode {
    if state.wasi_parts().0.tcp().reach.should_log(&denied.what) {
        let _ = denied.report(state);
    }
    ErrorCode::AccessDenied
}

/// Writes to the attempt's log, once.
pub(crate) fn say(state: &mut State, message: &str) {
    if state.wasi_parts().0.tcp().reach.should_log(message) {
        let _ = state.logs.lock().write(LogLevel::Warn, message, "");
    }
}

fn too_many(state: &mut State) -> ErrorCode {
    if !std::mem::replace(&mut state.wasi_parts().0.tcp().logged, true) {
        let message = format!(
            "this attempt may open at most {} TCP connections; raise `tcp_connections`",
            state.limits.tcp_connections
        );
        let _ = state.logs.lock().write(LogLevel::Warn, &message, "");
    }
    ErrorCode::NewSocketLimit
}

/// The latest end of the attempt.
pub(crate) fn deadline(state: &State) -> Instant {
    Instant::from_std(state.started) + state.limits.timeout
}
