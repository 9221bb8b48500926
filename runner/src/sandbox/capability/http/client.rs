//! One request after the other of one attempt: checked, sent, and answered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::super::super::access::Access;
use super::super::super::net::{self, ConnectionPermit, Turn};
use super::super::super::state::SharedLogs;
use super::body::Arriving;
use super::budget::{Budget, Metered, Stream};
use super::error::{Refusal, of_hyper, of_tls};
use super::wanted::Wanted;
use super::{Body, Io, Sent, fake, placeholder};
use crate::task::{AddressKind, Limits};

/// For the connection and its handshake, if the guest does not say.
const CONNECT: Duration = Duration::from_secs(10);
/// For the first byte of the response, and between two pieces of it, if the
/// guest does not say.
const SILENCE: Duration = Duration::from_secs(60);
/// Headers of a response.
const MAX_HEADERS: usize = 100;
/// Bytes of a response's head, and of its body that wait for the guest.
const BUFFER_BYTES: usize = 64 << 10;

/// Requests that one attempt has under way at a time, the reading of their answers
/// included: one attempt must not take the share of all others.
const AT_ONCE: usize = 16;
/// Refusals that one attempt logs; a guest that goes on trying is told, nobody
/// else.
const TOLD: usize = 20;

/// What the requests of one attempt share.
pub(super) struct Client {
    access: Option<Access>,
    logs: SharedLogs,
    budget: Arc<Budget>,
    deadline: Instant,
    turns: Arc<Semaphore>,
    /// Refusals that are in the log.
    told: Mutex<BTreeSet<String>>,
}

/// The moment after `time`, but not after the deadline.
pub(super) fn until(deadline: Instant, time: Option<Duration>) -> Instant {
    let end = Instant::now().checked_add(time.unwrap_or(SILENCE));
    end.map_or(deadline, |end| end.min(deadline))
}

impl Client {
    pub(super) fn new(
        access: Option<Access>,
        limits: &Limits,
        started: std::time::Instant,
        logs: &SharedLogs,
    ) -> Client {
        Client {
            access,
            budget: Budget::new(limits, logs),
            logs: SharedLogs::clone(logs),
            deadline: Instant::from_std(started + limits.timeout),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            told: Mutex::default(),
        }
    }

    /// Sends one request and waits for the head of its response. Dropping the
    /// future, or what it returns, closes the connection.
    pub(super) async fn send(&self, request: Request<Body>, options: RequestOptions) -> Sent {
        self.budget.request()?;
        let sent = self.checked(request, options).await;
        sent.map_err(|refusal| self.tell(refusal))
    }

    /// Logs a refusal that the log does not have yet; returns the guest's error.
    pub(super) fn tell(&self, refusal: Refusal) -> Error {
        let plugin = self.access.as_ref().map(|access| &*access.plugin);
        match refusal.said() {
            Some(said) if !self.is_news(said) => refusal.error(),
            _ => refusal.tell(plugin, &self.logs),
        }
    }

    /// Whether a refusal is to be logged: each once, and not too many.
    fn is_news(&self, said: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD && told.insert(said.to_owned())
    }

    async fn checked(
        &self,
        request: Request<Body>,
        options: RequestOptions,
    ) -> Result<(Response<Body>, Io), Refusal> {
        let (mut parts, body) = request.into_parts();
        let wanted = Wanted::read(&parts)?;
        let access = self.access.as_ref();
        let to = wanted.check(access)?;
        // Without access nothing passes the check.
        let Some(access) = access else {
            return Err(Error::HttpRequestDenied.into());
        };
        let what = wanted.what();
        let refuse = |error| Refusal::of_net(error, &what, &access.grant.networks);
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));

        if let Some(fake) = &access.fake_http {
            let literal = to.literal().ok().flatten();
            let local = to.host == "localhost" || literal.is_some_and(is_local);
            placeholder::fill(
                &mut parts.headers,
                &wanted,
                Some(access),
                wanted.secure || local,
            )?;
            let url = format!("{}{path}", wanted.origin());
            let answer = fake::answer(&**fake, &self.budget, url, &parts, body);
            return match timeout_at(self.deadline, answer).await {
                Ok(answered) => answered,
                Err(_elapsed) => Err(Error::HttpResponseTimeout.into()),
            };
        }

        let turn = self.turn(options.connect_timeout).await?;
        let plugin = &access.plugin;
        let permit = access.net.connection(plugin, self.deadline).await;
        let permit = permit.map_err(refuse)?;
        let connect_by = until(self.deadline, options.connect_timeout.or(Some(CONNECT)));
        let networks = &access.grant.networks;
        let kept = Some(Arc::clone(&turn));
        let addresses = access
            .net
            .resolve(plugin, &to, networks, kept, connect_by)
            .await;
        let addresses = addresses.map_err(refuse)?;
        if placeholder::has_any(&parts.headers) {
            let local = addresses.iter().all(|address| is_local(address.ip()));
            placeholder::fill(
                &mut parts.headers,
                &wanted,
                Some(access),
                wanted.secure || local,
            )?;
        }
        let stream = net::dial(&addresses, connect_by).await.map_err(refuse)?;
        let stream: Box<dyn Stream> = match wanted.secure {
            true => {
                let connector = access.net.tls().await.map_err(refuse)?;
                Box::new(secured(stream, &connector, &wanted, connect_by).await?)
            }
            false => Box::new(stream),
        };

        // A connection of HTTP/1.1 is told the path alone, and where it leads
        // by the header: the name that was checked, whatever the guest wrote.
        let authority = HeaderValue::from_str(&wanted.authority());
        let authority = authority.map_err(|_| Error::HttpRequestUriInvalid)?;
        parts.headers.insert(HOST, authority);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
        parts.uri = Uri::from(path);
        parts.version = http::Version::HTTP_11;
        let request = Request::from_parts(parts, body);
        let stream = Metered::new(stream, &self.budget);
        Ok(self
            .exchange(stream, (permit, turn), request, options)
            .await?)
    }

    /// Waits for one of the attempt's own requests to end, if there are many.
    async fn turn(&self, patience: Option<Duration>) -> Result<Turn, Refusal> {
        let turn = net::permit(&self.turns, until(self.deadline, patience)).await;
        turn.map(Arc::new).ok_or_else(|| {
            let line = format!(
                "this attempt has {AT_ONCE} HTTP requests under way, which is its limit; read their answers to the end, or drop them, before asking for more"
            );
            Refusal::Wrong(Error::ConnectionLimitReached, line)
        })
    }

    /// Sends the request and reads the head of the response.
    async fn exchange(
        &self,
        stream: Metered,
        held: (ConnectionPermit, Turn),
        request: Request<Body>,
        options: RequestOptions,
    ) -> Result<(Response<Body>, Io), Error> {
        let first_by = until(self.deadline, options.first_byte_timeout);
        let late = |_elapsed| match Instant::now() >= self.deadline {
            true => Error::HttpResponseTimeout,
            false => Error::ConnectionReadTimeout,
        };
        let handshake = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(BUFFER_BYTES)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await;
        let (mut sender, connection) = handshake.map_err(|error| of_hyper(&error))?;
        let mut connection = Box::pin(connection);
        let mut is_open = true;
        let exchange = async {
            let mut answer = std::pin::pin!(sender.send_request(request));
            loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => break answer,
                    ended = &mut connection, if is_open => {
                        is_open = false;
                        if let Err(error) = ended {
                            break Err(error);
                        }
                    }
                }
            }
        };
        let answer = timeout_at(first_by, exchange).await.map_err(late)?;
        let response = answer.map_err(|error| self.failed(&error))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::HttpUpgradeFailed);
        }
        let between = options.between_bytes_timeout;
        let deadline = self.deadline;
        let response = response.map(|incoming| {
            Arriving::new(incoming, &self.budget, between, deadline).boxed_unsync()
        });
        let io = async move {
            let _held = held;
            if is_open {
                // What goes wrong from here on, the body's reader is told.
                timeout_at(deadline, connection).await.ok();
            }
            Ok(())
        };
        Ok((response, Box::new(io)))
    }

    /// What ended the exchange: hyper does not know of the budget, and sees
    /// errors of the request's body as its own.
    fn failed(&self, error: &hyper::Error) -> Error {
        use std::error::Error as _;

        if let Some(error) = self.budget.spent() {
            return error;
        }
        match error.source().and_then(|e| e.downcast_ref::<Error>()) {
            Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
            Some(_) => Error::HttpProtocolError,
            None => of_hyper(error),
        }
    }
}

fn is_local(address: std::net::IpAddr) -> bool {
    AddressKind::of(address) == AddressKind::Loopback
}

/// TLS, with the name that was checked as the server's.
async fn secured(
    stream: TcpStream,
    connector: &tokio_rustls::TlsConnector,
    wanted: &Wanted,
    connect_by: Instant,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Refusal> {
    let name = wanted.host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        let line = format!("{}: no certificate can be for this name", wanted.what());
        Refusal::Wrong(Error::TlsCertificateError, line)
    })?;
    match timeout_at(connect_by, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(of_tls(&error, &wanted.what())),
        Err(_elapsed) => Err(Error::ConnectionTimeout.into()),
    }
}
