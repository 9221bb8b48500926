//! The requests of one attempt: checked, sent, and answered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::attempt::access::Access;
use crate::attempt::state::SharedLogs;
use crate::capability::http::body::Arriving;
use crate::capability::http::budget::{Budget, BudgetSlot, Metered};
use crate::capability::http::connect::{Route, Via, is_local};
use crate::capability::http::error::{Refusal, of_hyper};
use crate::capability::http::request_target::RequestTarget;
use crate::capability::http::reuse::{Connection, InUse, Key};
use crate::capability::http::{Body, Io, Sent, fake, placeholder};
use crate::net::{self, NetError, RequestPermit};
use pgtq_task::{Destination, Limits};

/// For the connection and its handshake, unless the guest sets a time.
const CONNECT: Duration = Duration::from_secs(10);
/// For the first byte of the response, and between two chunks of it, unless the guest
/// sets a time.
const SILENCE: Duration = Duration::from_secs(60);
/// Maximum number of headers of a response.
const MAX_HEADERS: usize = 100;
/// Maximum bytes of a response's head, and of buffered body.
const BUFFER_BYTES: usize = 64 << 10;

/// For servers that require a user agent, unless the guest sets one.
const USER_AGENT_TEXT: &str = concat!("pgtq/", env!("CARGO_PKG_VERSION"));

/// Concurrent requests of one attempt, including the reading of their answers: one
/// attempt must not take the share of all others.
const AT_ONCE: usize = 16;
/// Denials that one attempt logs; for further ones only the guest gets an error.
const MAX_LOGGED: usize = 20;

/// Shared by the requests of one attempt.
pub(super) struct Client {
    access: Option<Access>,
    logs: SharedLogs,
    budget: Arc<Budget>,
    deadline: Instant,
    turns: Arc<Semaphore>,
    /// Denials that are in the log.
    logged: Mutex<BTreeSet<String>>,
}

/// The time after `time` from now, but not after the deadline.
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
            logged: Mutex::default(),
        }
    }

    /// Sends one request and waits for the head of its response. Dropping the future, or
    /// its return value, closes the connection.
    pub(super) async fn send(&self, request: Request<Body>, options: RequestOptions) -> Sent {
        self.budget.request()?;
        let sent = self.checked(request, options).await;
        sent.map_err(|refusal| self.report(refusal))
    }

    /// Logs a denial that the log does not have yet; returns the guest's error.
    pub(super) fn report(&self, refusal: Refusal) -> Error {
        let plugin = self.access.as_ref().map(|access| &*access.plugin);
        match refusal.message() {
            Some(said) if !self.should_log(said) => refusal.error(),
            _ => refusal.report(plugin, &self.logs),
        }
    }

    /// Whether to log a denial: each once, and not too many.
    fn should_log(&self, said: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MAX_LOGGED && logged.insert(said.to_owned())
    }

    async fn checked(
        &self,
        request: Request<Body>,
        options: RequestOptions,
    ) -> Result<(Response<Body>, Io), Refusal> {
        let (mut parts, body) = request.into_parts();
        let wanted = RequestTarget::read(&parts)?;
        let access = self.access.as_ref();
        let to = wanted.check(access)?;
        // Without access no request passes the check.
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
        let via = Via::of(access, &to).map_err(refuse)?;
        let key = Key {
            plugin: Arc::clone(&access.plugin),
            origin: wanted.origin(),
            named: to.named,
        };
        // A secret without encryption is for this machine only: its destination is
        // resolved each time.
        let has_secrets = placeholder::has_any(&parts.headers);
        let kept = match wanted.secure || !has_secrets {
            true => access.net.idle.take(&key, &access.book),
            false => None,
        };
        let is_kept = kept.is_some();
        let (connection, is_safe) = match kept {
            Some(connection) => (Ok(connection), wanted.secure),
            None => {
                let route = self.route(access, &to, via, &turn, &options).await;
                let route = route.map_err(refuse)?;
                let is_safe = wanted.secure || route.is_local;
                (Err(route), is_safe)
            }
        };
        if has_secrets {
            placeholder::fill(&mut parts.headers, &wanted, Some(access), is_safe)?;
        }
        let connection = match connection {
            Ok(connection) => connection,
            Err(route) => self.connect(access, &wanted, &key, route, &options).await?,
        };

        // A connection of HTTP/1.1 gets the path alone, and the destination in the `host`
        // header: the checked name, whatever the guest wrote. A forwarding proxy gets the
        // full URL.
        let authority = HeaderValue::from_str(&wanted.authority());
        let authority = authority.map_err(|_| Error::HttpRequestUriInvalid)?;
        parts.headers.insert(HOST, authority);
        // Whether the connection is kept is not the guest's decision.
        parts.headers.remove(CONNECTION);
        let agent = HeaderValue::from_static(USER_AGENT_TEXT);
        parts.headers.entry(USER_AGENT).or_insert(agent);
        parts.uri = match via.is_forwarded(&wanted) {
            true => {
                via.authorize(&mut parts.headers);
                let whole = format!("{}{path}", wanted.origin()).parse();
                whole.map_err(|_| Error::HttpRequestUriInvalid)?
            }
            false => Uri::from(path),
        };
        parts.version = http::Version::HTTP_11;
        let request = Request::from_parts(parts, body);
        let sent = self.exchange(connection, &turn, request, &options).await;
        match sent {
            Ok(answered) => Ok(answered),
            // The server closed it in the meantime, and nothing was sent.
            Err(NotSent::Unsent(request)) if is_kept => {
                let route = self.route(access, &to, via, &turn, &options).await;
                let route = route.map_err(refuse)?;
                let connection = self.connect(access, &wanted, &key, route, &options).await?;
                let sent = self.exchange(connection, &turn, *request, &options).await;
                sent.map_err(|error| error.into_error().into())
            }
            Err(error) => Err(error.into_error().into()),
        }
    }

    /// Waits until the plugin may open a connection, and resolves its destination.
    async fn route<'a>(
        &self,
        access: &'a Access,
        to: &Destination,
        via: Via<'a>,
        turn: &RequestPermit,
        options: &RequestOptions,
    ) -> Result<Route<'a>, NetError> {
        let permit = access.net.connection(&access.plugin, self.deadline).await?;
        let connect_by = self.connect_by(options);
        Route::find(access, to, via, permit, turn, connect_by).await
    }

    /// Opens a connection for requests with this key.
    async fn connect(
        &self,
        access: &Access,
        wanted: &RequestTarget,
        key: &Key,
        route: Route<'_>,
        options: &RequestOptions,
    ) -> Result<Connection, Refusal> {
        let stream = route
            .connect(access, wanted, self.connect_by(options))
            .await?;
        let slot = BudgetSlot::new();
        slot.open(&self.budget);
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(BUFFER_BYTES)
            .handshake::<_, Body>(TokioIo::new(Metered::new(stream, &slot)))
            .await
            .map_err(|error| of_hyper(&error))?;
        // The request or the body's reader reports its errors.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection {
            sender,
            _driver: AbortOnDropHandle::new(driver),
            slot,
            _permit: route.permit,
            key: key.clone(),
            book: Arc::downgrade(&access.book),
        })
    }

    fn connect_by(&self, options: &RequestOptions) -> Instant {
        until(self.deadline, options.connect_timeout.or(Some(CONNECT)))
    }

    /// Waits for one of the attempt's own requests to end, if there are many.
    async fn turn(&self, patience: Option<Duration>) -> Result<RequestPermit, Refusal> {
        let turn = net::permit(&self.turns, until(self.deadline, patience)).await;
        turn.map(Arc::new).ok_or_else(|| {
            let line = format!(
                "this attempt has {AT_ONCE} HTTP requests in progress, which is its limit; read their answers to the end, or drop them, before asking for more"
            );
            Refusal::Wrong(Error::ConnectionLimitReached, line)
        })
    }

    /// Sends the request and reads the head of the response.
    async fn exchange(
        &self,
        mut connection: Connection,
        turn: &RequestPermit,
        request: Request<Body>,
        options: &RequestOptions,
    ) -> Result<(Response<Body>, Io), NotSent> {
        let first_by = until(self.deadline, options.first_byte_timeout);
        let late = |_elapsed| match Instant::now() >= self.deadline {
            true => Error::HttpResponseTimeout,
            false => Error::ConnectionReadTimeout,
        };
        connection.slot.open(&self.budget);
        let answer = connection.sender.try_send_request(request);
        let answer = timeout_at(first_by, answer).await;
        let response = match answer.map_err(late).map_err(NotSent::Failed)? {
            Ok(response) => response,
            Err(mut error) => {
                return Err(match error.take_message() {
                    Some(request) => NotSent::Unsent(Box::new(request)),
                    None => NotSent::Failed(self.failed(error.error())),
                });
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(NotSent::Failed(Error::HttpUpgradeFailed));
        }
        let between = options.between_bytes_timeout;
        let deadline = self.deadline;
        let access = self.access.as_ref();
        let idle = access.map(|access| Arc::clone(&access.net.idle));
        let in_use = InUse::new(connection, idle.unwrap_or_default());
        let (done, is_done) = oneshot::channel();
        let held = (HeldFor(Arc::clone(&in_use)), RequestPermit::clone(turn));
        let response = response.map(|incoming| {
            let in_use = (in_use, done);
            Arriving::new(incoming, &self.budget, in_use, between, deadline).boxed_unsync()
        });
        let io = async move {
            let _held = held;
            timeout_at(deadline, is_done).await.ok();
            Ok(())
        };
        Ok((response, Box::new(io)))
    }

    /// The cause of the exchange's end: hyper does not know of the budget, and reports
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

/// Closes the connection of a request, unless its answer was read to the end.
struct HeldFor(Arc<InUse>);

impl Drop for HeldFor {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A request without an answer.
enum NotSent {
    /// Whether no part of it was sent.
    Unsent(Box<Request<Body>>),
    Failed(Error),
}

impl NotSent {
    fn into_error(self) -> Error {
        match self {
            NotSent::Unsent(_) => Error::ConnectionTerminated,
            NotSent::Failed(error) => error,
        }
    }
}
