//! The requests of one attempt: checked, sent, and answered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, request};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::attempt::access::Access;
use crate::attempt::logs::SharedLogs;
use crate::capability::http::budget::HttpBudget;
use crate::capability::http::connect::{Via, is_local};
use crate::capability::http::deadline::until;
use crate::capability::http::error::HttpFailure;
use crate::capability::http::exchange::{HttpExchange, NotSent};
use crate::capability::http::fake::FakeHttp;
use crate::capability::http::message::{Body, Io, Sent};
use crate::capability::http::request_target::RequestTarget;
use crate::capability::http::reuse::ReuseKey;
use crate::capability::http::service::HttpService;
use crate::capability::http::{fake_exchange, placeholder};
use crate::net::permit::{RequestPermit, permit};
use pgtq_task::{Destination, Limits};

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
    budget: Arc<HttpBudget>,
    deadline: Instant,
    permits: Arc<Semaphore>,
    /// Denials that are in the log.
    logged: Mutex<BTreeSet<String>>,
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
            budget: HttpBudget::new(limits, logs),
            logs: SharedLogs::clone(logs),
            deadline: Instant::from_std(started + limits.timeout),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
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
    pub(super) fn report(&self, refusal: HttpFailure) -> Error {
        let plugin = self.access.as_ref().map(|access| &**access.plugin());
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
    ) -> Result<(Response<Body>, Io), HttpFailure> {
        let (parts, body) = request.into_parts();
        let wanted = RequestTarget::read(&parts)?;
        let to = wanted.check(self.access.as_ref())?;
        // Without access no request passes the check.
        let Some(access) = &self.access else {
            return Err(Error::HttpRequestDenied.into());
        };
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let service = access.service::<HttpService>();
        if let Some(fake) = &service.fake {
            let request = (parts, body);
            return self
                .faked(&**fake, access, &wanted, &to, &path, request)
                .await;
        }
        let permit = self.permit(options.connect_timeout).await?;
        let what = wanted.what();
        let via = Via::of(service.proxy.as_deref(), &to)
            .map_err(|error| HttpFailure::of_net(error, &what, &access.grant().networks))?;
        let exchange = HttpExchange {
            access,
            service,
            budget: &self.budget,
            deadline: self.deadline,
            key: ReuseKey {
                plugin: Arc::clone(access.plugin()),
                origin: wanted.origin(),
                named: to.named,
            },
            wanted: &wanted,
            to: &to,
            via,
            permit,
            options: &options,
        };
        self.exchanged(&exchange, parts, body, path).await
    }

    /// Lets the test double answer a request that passed the check.
    async fn faked(
        &self,
        fake: &dyn FakeHttp,
        access: &Access,
        wanted: &RequestTarget,
        to: &Destination,
        path: &PathAndQuery,
        (mut parts, body): (request::Parts, Body),
    ) -> Result<(Response<Body>, Io), HttpFailure> {
        let literal = to.literal().ok().flatten();
        let local = to.host == "localhost" || literal.is_some_and(is_local);
        let is_safe = wanted.secure || local;
        placeholder::fill(&mut parts.headers, wanted, Some(access), is_safe)?;
        let url = format!("{}{path}", wanted.origin());
        let answer = fake_exchange::answer(fake, &self.budget, url, &parts, body);
        match timeout_at(self.deadline, answer).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Error::HttpResponseTimeout.into()),
        }
    }

    /// Sends a request over a kept or a new connection.
    async fn exchanged(
        &self,
        exchange: &HttpExchange<'_>,
        mut parts: request::Parts,
        body: Body,
        path: PathAndQuery,
    ) -> Result<(Response<Body>, Io), HttpFailure> {
        let (access, wanted) = (exchange.access, exchange.wanted);
        // A secret without encryption is for this machine only: its destination is
        // resolved each time.
        let has_secrets = placeholder::has_any(&parts.headers);
        let kept = match wanted.secure || !has_secrets {
            true => exchange.service.idle.take(&exchange.key, access.book()),
            false => None,
        };
        let is_kept = kept.is_some();
        let (connection, is_safe) = match kept {
            Some(connection) => (Ok(connection), wanted.secure),
            None => {
                let route = exchange.route().await?;
                let is_safe = wanted.secure || route.is_local;
                (Err(route), is_safe)
            }
        };
        if has_secrets {
            placeholder::fill(&mut parts.headers, wanted, Some(access), is_safe)?;
        }
        let connection = match connection {
            Ok(connection) => connection,
            Err(route) => exchange.connect(route).await?,
        };
        address(&mut parts, exchange.via, wanted, path)?;
        let request = Request::from_parts(parts, body);
        match exchange.send(connection, request).await {
            Ok(answered) => Ok(answered),
            // The server closed it in the meantime, and nothing was sent.
            Err(NotSent::Unsent(request)) if is_kept => {
                let route = exchange.route().await?;
                let connection = exchange.connect(route).await?;
                let sent = exchange.send(connection, *request).await;
                sent.map_err(|error| error.into_error().into())
            }
            Err(error) => Err(error.into_error().into()),
        }
    }

    /// Waits for one of the attempt's own requests to end, if there are many.
    async fn permit(&self, patience: Option<Duration>) -> Result<RequestPermit, HttpFailure> {
        let permit = permit(&self.permits, until(self.deadline, patience)).await;
        permit.map(Arc::new).ok_or_else(|| {
            let line = format!(
                "this attempt has {AT_ONCE} HTTP requests in progress, which is its limit; read their responses to the end, or drop them, before asking for more"
            );
            HttpFailure::Wrong(Error::ConnectionLimitReached, line)
        })
    }
}

/// Sets what names the destination of a request. A connection of HTTP/1.1 gets the path
/// alone, and the destination in the `host` header: the checked name, whatever the guest
/// wrote. A forwarding proxy gets the full URL.
fn address(
    parts: &mut request::Parts,
    via: Via<'_>,
    wanted: &RequestTarget,
    path: PathAndQuery,
) -> Result<(), Error> {
    let authority = HeaderValue::from_str(&wanted.authority());
    let authority = authority.map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.headers.insert(HOST, authority);
    // Whether the connection is kept is not the guest's decision.
    parts.headers.remove(CONNECTION);
    let agent = HeaderValue::from_static(USER_AGENT_TEXT);
    parts.headers.entry(USER_AGENT).or_insert(agent);
    parts.uri = match via.is_forwarded(wanted) {
        true => {
            via.authorize(&mut parts.headers);
            let whole = format!("{}{path}", wanted.origin()).parse();
            whole.map_err(|_| Error::HttpRequestUriInvalid)?
        }
        false => Uri::from(path),
    };
    parts.version = http::Version::HTTP_11;
    Ok(())
}
