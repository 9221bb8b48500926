//! `wasi:sockets`: outgoing TCP connections to destinations that the handler requests and
//! its plugin is granted. No UDP, and no listening.

mod context;
mod lookup;
mod rules;
mod sockets;

use std::sync::Arc;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{
    IpAddressFamily, IpSocketAddress, LinkOptions,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use wasmtime_wasi::p2::{Network, TcpSocket};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use crate::attempt::services::Services;
use crate::attempt::state::StoreData;
use crate::capability::registration::Capability;
use crate::capability::tcp::context::Tcp;
use crate::capability::tcp::sockets::{create_socket, finish_connect, start_connect};
use crate::config::SandboxConfig;
use crate::net::network::Net;
use crate::wasi::replace::{VERSION, replace};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &[
        "wasi:sockets/instance-network",
        "wasi:sockets/ip-name-lookup",
        "wasi:sockets/network",
        "wasi:sockets/tcp",
        "wasi:sockets/tcp-create-socket",
        "wasi:sockets/udp",
        "wasi:sockets/udp-create-socket",
    ],
    link,
    add_services,
};

fn add_services(services: &mut Services, _: &SandboxConfig, net: &Arc<Net>) {
    services.add(Arc::clone(net));
}

type Socket = Resource<TcpSocket>;

fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    network::add_to_linker::<_, WasiSockets>(linker, &LinkOptions::default(), StoreData::sockets)?;
    instance_network::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    tcp::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    // Standard libraries import it; the context denies making a socket.
    udp::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    udp_create_socket::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;

    linker.allow_shadowing(true);
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
            state.context::<Tcp>().permits.remove(&number);
            Ok(())
        },
    )?;
    lookup::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
