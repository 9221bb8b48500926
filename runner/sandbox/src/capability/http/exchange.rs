//! One allowed request: its route, its connection, and the head of its response.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::attempt::access::Access;
use crate::capability::http::body::Arriving;
use crate::capability::http::budget::{BudgetSlot, HttpBudget, MeteredConnection};
use crate::capability::http::connect::{Route, Via};
use crate::capability::http::deadline::until;
use crate::capability::http::error::{HttpFailure, of_hyper};
use crate::capability::http::message::{Body, Io};
use crate::capability::http::request_target::RequestTarget;
use crate::capability::http::reuse::{Connection, InUse, ReuseKey};
use crate::capability::http::service::HttpService;
use crate::net::error::NetError;
use crate::net::permit::RequestPermit;
use pgtq_task::Destination;

/// For the connection and its handshake, unless the guest sets a time.
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum number of headers of a response.
const MAX_HEADERS: usize = 100;
/// Maximum bytes of a response's head, and of buffered body.
const BUFFER_BYTES: usize = 64 << 10;

/// A request that the rules allow, without its headers and body.
pub(super) struct HttpExchange<'a> {
    pub(super) access: &'a Access,
    pub(super) service: &'a HttpService,
    pub(super) budget: &'a Arc<HttpBudget>,
    /// The end of the attempt.
    pub(super) deadline: Instant,
    pub(super) wanted: &'a RequestTarget,
    pub(super) to: &'a Destination,
    pub(super) via: Via<'a>,
    /// The connections that it may use.
    pub(super) key: ReuseKey,
    pub(super) permit: RequestPermit,
    pub(super) options: &'a RequestOptions,
}

impl<'a> HttpExchange<'a> {
    /// Waits until the plugin may open a connection, and resolves the destination.
    pub(super) async fn route(&self) -> Result<Route<'a>, HttpFailure> {
        let route = self.find_route().await;
        route.map_err(|error| {
            let networks = &self.access.grant().networks;
            HttpFailure::of_net(error, &self.wanted.what(), networks)
        })
    }

    async fn find_route(&self) -> Result<Route<'a>, NetError> {
        let (net, plugin) = (&self.service.net, self.access.plugin());
        let connection = net.connection(plugin, self.deadline).await?;
        let by = self.connect_by();
        Route::find(
            net,
            self.access,
            self.to,
            self.via,
            connection,
            &self.permit,
            by,
        )
        .await
    }

    /// Opens a connection for requests with this key.
    pub(super) async fn connect(&self, route: Route<'_>) -> Result<Connection, HttpFailure> {
        let net = &self.service.net;
        let stream = route
            .connect(net, self.access, self.wanted, self.connect_by())
            .await?;
        let slot = BudgetSlot::new();
        slot.open(self.budget);
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(BUFFER_BYTES)
            .handshake::<_, Body>(TokioIo::new(MeteredConnection::new(stream, &slot)))
            .await
            .map_err(|error| of_hyper(&error))?;
        // The request or the body's reader reports its errors.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection {
            sender,
            _driver: AbortOnDropHandle::new(driver),
            slot,
            _permit: route.permit,
            key: self.key.clone(),
            book: Arc::downgrade(self.access.book()),
        })
    }

    fn connect_by(&self) -> Instant {
        until(
            self.deadline,
            self.options.connect_timeout.or(Some(CONNECT)),
        )
    }

    /// Sends the request and reads the head of the response.
    pub(super) async fn send(
        &self,
        mut connection: Connection,
        request: Request<Body>,
    ) -> Result<(Response<Body>, Io), NotSent> {
        let first_by = until(self.deadline, self.options.first_byte_timeout);
        let late = |_elapsed| match Instant::now() >= self.deadline {
            true => Error::HttpResponseTimeout,
            false => Error::ConnectionReadTimeout,
        };
        connection.slot.open(self.budget);
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
        let between = self.options.between_bytes_timeout;
        let deadline = self.deadline;
        let in_use = InUse::new(connection, Arc::clone(&self.service.idle));
        let (done, is_done) = oneshot::channel();
        let permit = RequestPermit::clone(&self.permit);
        let held = (HeldFor(Arc::clone(&in_use)), permit);
        let response = response.map(|incoming| {
            let in_use = (in_use, done);
            Arriving::new(incoming, self.budget, in_use, between, deadline).boxed_unsync()
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
pub(super) enum NotSent {
    /// No part of it was sent.
    Unsent(Box<Request<Body>>),
    Failed(Error),
}

impl NotSent {
    pub(super) fn into_error(self) -> Error {
        match self {
            NotSent::Unsent(_) => Error::ConnectionTerminated,
            NotSent::Failed(error) => error,
        }
    }
}
