//! Limits the bytes that a server may still send, counted below the protocol.
//!
//! The driver buffers a whole message before it returns a row, so one huge row would fill the
//! runner's memory before any check could run. Here the stream itself fails when the budget is
//! spent, and the connection ends with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Shared by a session and its stream.
#[derive(Debug, Default)]
pub(super) struct ByteBudget(AtomicI64);

impl ByteBudget {
    /// Sets the budget to this many bytes.
    pub(super) fn allow(&self, bytes: u64) {
        self.0
            .store(i64::try_from(bytes).unwrap_or(i64::MAX), Relaxed);
    }

    /// Whether the server sent more than the budget.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Relaxed) < 0
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.0.fetch_sub(bytes, Relaxed) < bytes {
            return Err(io::Error::other("the server sent more than allowed"));
        }
        Ok(())
    }
}

/// The transport of a connection.
pub(super) trait SqlTransport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> SqlTransport for T {}

/// A stream that enforces a budget.
pub(super) struct MeteredStream {
    stream: Box<dyn SqlTransport>,
    budget: Arc<ByteBudget>,
}

impl MeteredStream {
    pub(super) fn new(stream: impl SqlTransport + 'static, budget: Arc<ByteBudget>) -> Self {
        MeteredStream {
            stream: Box::new(stream),
            budget,
        }
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.budget.take(buf.filled().len() - before))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn a_stream_ends_at_its_budget() {
        let budget = Arc::new(ByteBudget::default());
        let mut stream = MeteredStream::new(
            tokio::io::join(&[7_u8; 100][..], tokio::io::sink()),
            Arc::clone(&budget),
        );
        budget.allow(10);
        let mut first = [0; 10];
        stream.read_exact(&mut first).await.expect("within");
        assert!(!budget.is_spent());
        assert!(stream.read_exact(&mut first).await.is_err());
        assert!(budget.is_spent());
    }
}
