//! Our own `wasi:sockets/ip-name-lookup`: a name is looked up if a rule of both sides
//! names it, once per attempt, and every address is checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::vec;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, SocketResult, subscribe};

use crate::attempt::host_call::Caller;
use crate::attempt::state::StoreData;
use crate::capability::tcp::context::{Tcp, deadline, log_once, refuse};
use crate::capability::tcp::rules;
use crate::net::error::NetError;
use crate::net::network::Net;
use crate::wasi::replace::{VERSION, replace};
use pgtq_task::host;

/// Names that one attempt may look up, including those not found.
const LOOKUPS: u32 = 100;

/// The addresses that the guest has not taken yet.
struct Answer(vec::IntoIter<IpAddr>);

#[async_trait]
impl Pollable for Answer {
    // The lookup waits for the answer.
    async fn ready(&mut self) {}
}

/// The longest name that is looked up, in bytes (RFC 1035, with a trailing dot).
const NAME_BYTES: usize = 254;

pub(crate) fn link(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(&format!("wasi:sockets/ip-name-lookup@{VERSION}"))?;
    let answer = ResourceType::host::<Answer>();
    lookup.resource("resolve-address-stream", answer, |mut store, number| {
        let table = store.data_mut().table();
        table.delete(Resource::<Answer>::new_own(number))?;
        Ok(())
    })?;
    replace!(lookup, "resolve-addresses", |state, (network: Resource<Network>, name: String)|
        resolve(state, network, name));
    replace!(
        lookup,
        "[method]resolve-address-stream.resolve-next-address",
        |state, (answer: Resource<Answer>)| async { next(state, &answer) }
    );
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: Caller<'_>,
         (answer,): (Resource<Answer>,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((subscribe(store.data_mut().table(), answer)?,))
        },
    )
}

fn next(state: &mut StoreData, answer: &Resource<Answer>) -> SocketResult<Option<IpAddress>> {
    let answer = state.table().get_mut(answer)?;
    Ok(answer.0.next().map(IpAddress::from))
}

async fn resolve(
    state: &mut StoreData,
    network: Resource<Network>,
    name: String,
) -> SocketResult<Resource<Answer>> {
    let table = state.table();
    table.get(&network)?;
    if name.len() > NAME_BYTES {
        return Err(ErrorCode::InvalidArgument.into());
    }
    let addresses = match name.parse::<IpAddr>() {
        // Nothing to look up; connecting decides.
        Ok(address) => vec![address],
        Err(_) => look_up(state, &name).await?,
    };
    Ok(state.table().push(Answer(addresses.into_iter()))?)
}

async fn look_up(state: &mut StoreData, name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let host = host(name).map_err(|_| ErrorCode::InvalidArgument)?;
    if let Err(reason) = rules::is_written_well(&host) {
        return Err(failed(state, &NetError::BadHost(reason)));
    }
    let Some(access) = state.access().cloned() else {
        return Err(refuse(state, rules::nothing_asked(&host)));
    };
    let destination = match rules::looked_up(&access, &host) {
        Ok(destination) => destination,
        Err(denied) => return Err(refuse(state, denied)),
    };
    let tcp = state.context::<Tcp>();
    if let Some(known) = tcp.names.answer(&host) {
        return Ok(known.to_vec());
    }
    tcp.n_lookups += 1;
    if tcp.n_lookups > LOOKUPS {
        log_once(
            state,
            &format!("an attempt may look up at most {LOOKUPS} names"),
        );
        return Err(ErrorCode::TemporaryResolverFailure);
    }
    match access
        .service::<Arc<Net>>()
        // One at a time: the guest waits for it.
        .resolve(
            access.plugin(),
            &destination,
            &access.grant().networks,
            None,
            deadline(state),
        )
        .await
    {
        Ok(found) => {
            let addresses: Vec<IpAddr> = found.iter().map(|a| a.ip().to_canonical()).collect();
            state.context::<Tcp>().names.learn(&host, addresses.clone());
            Ok(addresses)
        }
        Err(error) => Err(failed(state, &error)),
    }
}

fn failed(state: &mut StoreData, error: &NetError) -> ErrorCode {
    if let (NetError::Prohibited { .. }, Some(access)) = (error, state.access()) {
        let denied = rules::resolves_to_denied(access, error);
        return refuse(state, denied);
    }
    log_once(state, &error.to_string());
    match error {
        NetError::Lookup { .. } => ErrorCode::NameUnresolvable,
        NetError::BadHost(_) => ErrorCode::InvalidArgument,
        _ => ErrorCode::TemporaryResolverFailure,
    }
}
