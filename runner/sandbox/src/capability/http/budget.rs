//! Counts the bytes that an attempt sends and receives, and stops it at its limit.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi_http::Error;

use crate::attempt::logs::SharedLogs;
use pgtq_task::{Limits, LogLevel};

/// The remaining budget of one attempt, for all its requests together.
pub(super) struct HttpBudget {
    requests: u32,
    bytes: u64,
    requests_made: AtomicU32,
    bytes_moved: AtomicU64,
    /// The direction of the byte that exceeded the budget.
    exceeded: OnceLock<Direction>,
    logs: SharedLogs,
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Out,
    In,
}

impl HttpBudget {
    pub(super) fn new(limits: &Limits, logs: &SharedLogs) -> Arc<HttpBudget> {
        Arc::new(HttpBudget {
            requests: limits.http_requests,
            bytes: limits.http_bytes,
            requests_made: AtomicU32::new(0),
            bytes_moved: AtomicU64::new(0),
            exceeded: OnceLock::new(),
            logs: SharedLogs::clone(logs),
        })
    }

    /// Counts a request, denied ones too.
    pub(super) fn request(&self) -> Result<(), Error> {
        let made = self.requests_made.fetch_add(1, Ordering::Relaxed);
        if made < self.requests {
            return self.spent().map_or(Ok(()), Err);
        }
        // Logged once, because a loop around rejections would fill the log.
        if made == self.requests {
            self.warn(&format!(
                "this attempt has made {} HTTP requests, which is its limit; push further tasks, or raise `limits.http_requests`",
                self.requests
            ));
        }
        Err(Error::ConnectionLimitReached)
    }

    /// Counts bytes. Above the limit nothing more is transferred.
    pub(super) fn spend(&self, bytes: usize, direction: Direction) -> Result<(), Error> {
        let before = self.bytes_moved.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) <= self.bytes {
            return Ok(());
        }
        if before <= self.bytes {
            self.warn(&format!(
                "this attempt has transferred {} bytes over HTTP, which is its limit; ask for less at a time, or raise `limits.http_bytes`",
                self.bytes
            ));
        }
        Err(self.error(*self.exceeded.get_or_init(|| direction)))
    }

    /// The guest's error once the limit is exceeded.
    pub(super) fn spent(&self) -> Option<Error> {
        self.exceeded.get().map(|direction| self.error(*direction))
    }

    fn error(&self, direction: Direction) -> Error {
        match direction {
            Direction::Out => Error::HttpRequestBodySize(Some(self.bytes)),
            Direction::In => Error::HttpResponseBodySize(Some(self.bytes)),
        }
    }

    fn warn(&self, line: &str) {
        // Ignores the limit: the next line that the guest itself writes enforces it.
        let _ = self.logs.lock().write(LogLevel::Warn, line, "");
    }
}

/// The transport of a connection.
pub(super) trait HttpTransport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> HttpTransport for T {}

/// The budget that pays for a connection's bytes: none while it is idle.
pub(super) struct BudgetSlot(Mutex<Option<Arc<HttpBudget>>>);

impl BudgetSlot {
    pub(super) fn new() -> Arc<BudgetSlot> {
        Arc::new(BudgetSlot(Mutex::default()))
    }

    /// Charges bytes to this budget from now on.
    pub(super) fn open(&self, budget: &Arc<HttpBudget>) {
        *self.lock() = Some(Arc::clone(budget));
    }

    /// Lets no bytes pass from now on.
    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    /// Whether the budget was exceeded.
    pub(super) fn is_spent(&self) -> bool {
        let budget = self.lock();
        budget
            .as_ref()
            .is_some_and(|budget| budget.spent().is_some())
    }

    fn spend(&self, bytes: usize, direction: Direction) -> io::Result<()> {
        let budget = self.lock().clone();
        let spent = match budget {
            Some(budget) => budget.spend(bytes, direction),
            // The end of the connection is not a byte.
            None if bytes == 0 => Ok(()),
            None => return Err(io::Error::other("bytes without a request")),
        };
        spent.map_err(|error| io::Error::other(error.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<HttpBudget>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose bytes count, heads and framing included. Inside of TLS: the
/// overhead of encryption does not count.
pub(super) struct MeteredConnection {
    stream: Box<dyn HttpTransport>,
    slot: Arc<BudgetSlot>,
}

impl MeteredConnection {
    pub(super) fn new(stream: Box<dyn HttpTransport>, slot: &Arc<BudgetSlot>) -> Self {
        MeteredConnection {
            stream,
            slot: Arc::clone(slot),
        }
    }
}

impl AsyncRead for MeteredConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = read {
            self.slot
                .spend(buffer.filled().len() - before, Direction::In)?;
        }
        read
    }
}

impl AsyncWrite for MeteredConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = written {
            self.slot.spend(n, Direction::Out)?;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}
