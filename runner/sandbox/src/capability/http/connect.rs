//! From an allowed request to a connection: directly to its server, or through the
//! operator's proxy.
//!
//! Requests to names go through the proxy. The proxy resolves them, so `networks` of
//! grants do not apply to them. Addresses, and names of this machine, are never sent to
//! the proxy: they are checked and dialled here, as without a proxy.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{HeaderMap, PROXY_AUTHORIZATION};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error;

use crate::attempt::access::Access;
use crate::capability::http::budget::HttpTransport;
use crate::capability::http::error::{HttpFailure, of_tls};
use crate::capability::http::request_target::RequestTarget;
use crate::net::dial::dial;
use crate::net::error::NetError;
use crate::net::network::Net;
use crate::net::permit::{ConnectionPermit, RequestPermit};
use pgtq_task::{AddressKind, Destination, HttpProxy, Secret};

/// Maximum bytes of the head of a proxy's answer.
const PROXY_HEAD: usize = 8 << 10;

/// Whether a request goes through the proxy.
#[derive(Clone, Copy)]
pub(super) struct Via<'a>(Option<&'a HttpProxy>);

impl<'a> Via<'a> {
    pub(super) fn of(proxy: Option<&'a HttpProxy>, to: &Destination) -> Result<Via<'a>, NetError> {
        let literal = to.literal().map_err(NetError::BadHost)?;
        // A proxy would resolve the name to its own machine.
        let is_here = to.host == "localhost" || to.host.ends_with(".localhost");
        let is_name = literal.is_none() && !is_here;
        Ok(Via(proxy.filter(|_| is_name)))
    }

    /// Whether the request line contains the full URL: a proxy forwards unencrypted
    /// requests.
    pub(super) fn is_forwarded(self, wanted: &RequestTarget) -> bool {
        self.0.is_some() && !wanted.secure
    }

    /// Adds the headers that the proxy requires on a forwarded request.
    pub(super) fn authorize(self, headers: &mut HeaderMap) {
        let credentials = self.0.and_then(|proxy| proxy.credentials.as_ref());
        if let Some(value) = credentials.and_then(authorization) {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
    }
}

/// The destination of a request, resolved before anything is sent.
pub(super) struct Route<'a> {
    addresses: Vec<SocketAddr>,
    proxy: Option<&'a HttpProxy>,
    /// Whether the server is this machine.
    pub(super) is_local: bool,
    pub(super) permit: ConnectionPermit,
}

impl<'a> Route<'a> {
    /// Resolves the destination of a request and checks the addresses. Cancel-safe.
    pub(super) async fn find(
        net: &Net,
        access: &Access,
        to: &Destination,
        via: Via<'a>,
        permit: ConnectionPermit,
        request: &RequestPermit,
        connect_by: Instant,
    ) -> Result<Route<'a>, NetError> {
        let plugin = access.plugin();
        let request = Some(RequestPermit::clone(request));
        let addresses = match via.0 {
            Some(proxy) => {
                net.resolve_proxy(plugin, proxy, request, connect_by)
                    .await?
            }
            None => {
                let networks = &access.grant().networks;
                net.resolve(plugin, to, networks, request, connect_by)
                    .await?
            }
        };
        let is_local = addresses.iter().all(|address| is_local(address.ip()));
        Ok(Route {
            is_local: is_local && via.0.is_none(),
            addresses,
            proxy: via.0,
            permit,
        })
    }

    /// Connects, through the proxy if there is one, with TLS if the request requires it.
    pub(super) async fn connect(
        &self,
        net: &Net,
        access: &Access,
        wanted: &RequestTarget,
        connect_by: Instant,
    ) -> Result<Box<dyn HttpTransport>, HttpFailure> {
        let what = wanted.what();
        let refuse = |error| HttpFailure::of_net(error, &what, &access.grant().networks);
        let mut stream =
            dial(&self.addresses, connect_by)
                .await
                .map_err(|error| match (error, self.proxy) {
                    (NetError::Connect { source, .. }, Some(proxy)) => HttpFailure::Wrong(
                        Error::DestinationUnavailable,
                        format!("{what}: connect to the proxy {proxy}: {source}"),
                    ),
                    (error, _) => refuse(error),
                })?;
        if !wanted.secure {
            return Ok(Box::new(stream));
        }
        if let Some(proxy) = self.proxy {
            match timeout_at(connect_by, tunnel(&mut stream, proxy, wanted)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    let line = format!("{what}: the proxy {proxy}: {reason}");
                    return Err(HttpFailure::Wrong(Error::DestinationUnavailable, line));
                }
                Err(_elapsed) => return Err(Error::ConnectionTimeout.into()),
            }
        }
        let connector = net.tls().await.map_err(refuse)?;
        Ok(Box::new(
            secured(stream, &connector, wanted, connect_by).await?,
        ))
    }
}

pub(super) fn is_local(address: std::net::IpAddr) -> bool {
    AddressKind::of(address) == AddressKind::Loopback
}

fn authorization(credentials: &Secret) -> Option<HeaderValue> {
    let text = format!("Basic {}", STANDARD.encode(credentials.reveal()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Asks a proxy for a connection to the server of a request. The error contains the
/// proxy's answer.
async fn tunnel(
    stream: &mut TcpStream,
    proxy: &HttpProxy,
    wanted: &RequestTarget,
) -> Result<(), String> {
    let to = wanted.host_and_port();
    let authorization = match &proxy.credentials {
        Some(credentials) => format!(
            "proxy-authorization: Basic {}\r\n",
            STANDARD.encode(credentials.reveal())
        ),
        None => String::new(),
    };
    let ask = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n{authorization}\r\n");
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(ask.as_bytes()).await.map_err(failed)?;
    // Byte by byte: the bytes after the head belong to the server.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD {
            return Err("its answer is too long".to_owned());
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some(status) if line.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
        _ => Err(format!("it answered `{line}` to CONNECT {to}")),
    }
}

/// TLS; the server's certificate must be for the checked name.
async fn secured(
    stream: TcpStream,
    connector: &tokio_rustls::TlsConnector,
    wanted: &RequestTarget,
    connect_by: Instant,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, HttpFailure> {
    let name = wanted.host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        let line = format!("{}: no certificate can be for this name", wanted.what());
        HttpFailure::Wrong(Error::TlsCertificateError, line)
    })?;
    match timeout_at(connect_by, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(of_tls(&error, &wanted.what())),
        Err(_elapsed) => Err(Error::ConnectionTimeout.into()),
    }
}
