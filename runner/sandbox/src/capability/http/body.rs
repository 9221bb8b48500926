//! A response's body: enforces the time between two chunks and the attempt's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;

use crate::capability::http::budget::HttpBudget;
use crate::capability::http::deadline::until;
use crate::capability::http::error::of_hyper;
use crate::capability::http::reuse::InUse;

/// Passes chunks on as they arrive. Buffers nothing: hyper reads on only when the guest
/// has taken the previous chunk.
pub(super) struct Arriving {
    incoming: hyper::body::Incoming,
    budget: Arc<HttpBudget>,
    /// Released when all was read. `None` from then on.
    in_use: Option<(Arc<InUse>, oneshot::Sender<()>)>,
    /// The longest time between two chunks.
    between: Option<Duration>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Arriving {
    pub(super) fn new(
        incoming: hyper::body::Incoming,
        budget: &Arc<HttpBudget>,
        in_use: (Arc<InUse>, oneshot::Sender<()>),
        between: Option<Duration>,
        deadline: Instant,
    ) -> Self {
        let mut arriving = Arriving {
            incoming,
            budget: Arc::clone(budget),
            in_use: Some(in_use),
            between,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(until(deadline, between))),
        };
        // An empty body is never read.
        if arriving.incoming.is_end_stream() {
            arriving.finish();
        }
        arriving
    }

    /// The connection may serve another request.
    fn finish(&mut self) {
        if let Some((in_use, _done)) = self.in_use.take() {
            in_use.finished();
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = until(self.deadline, self.between);
                self.timer.as_mut().reset(next);
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = self.budget.spent().unwrap_or_else(|| of_hyper(&error));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(match Instant::now() >= self.deadline {
                    true => Error::HttpResponseTimeout,
                    false => Error::ConnectionReadTimeout,
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
