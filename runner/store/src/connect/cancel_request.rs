//! The cancel request of a connection, as the driver would send it.
//!
//! The driver keeps the contents of the request private and closes the connection as soon as it
//! has sent one. This module makes the driver write the request to a buffer, so that other code
//! can send it.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Its length, a code, the process id and a secret, each of four bytes.
#[derive(Clone, Copy)]
pub(crate) struct CancelRequest([u8; 16]);

impl CancelRequest {
    /// The request for this connection. `None` if the driver wrote something else.
    pub(crate) async fn of(
        client: &Client,
        config: &tokio_postgres::Config,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let paper = Paper {
            written: Arc::default(),
            has_tls: config.get_ssl_mode() == SslMode::Require,
        };
        client
            .cancel_token()
            .cancel_query_raw(paper.clone(), NoWrap)
            .await?;
        let written = paper.written.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(written.last_chunk().copied().map(CancelRequest))
    }

    /// The bytes to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The process whose statement it cancels.
    pub(crate) fn process(&self) -> i32 {
        let [.., a, b, c, d, _, _, _, _] = self.0;
        i32::from_be_bytes([a, b, c, d])
    }
}

/// A stream that records the cancel request and sends nothing.
#[derive(Clone)]
struct Paper {
    written: Arc<Mutex<Vec<u8>>>,
    /// The answer to an SSLRequest. Plain where the driver accepts it: a TLS handshake needs a
    /// host name, which a Unix socket does not have.
    has_tls: bool,
}

impl AsyncWrite for Paper {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Paper {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The only negotiation before a cancel request.
        into.put_slice(if self.has_tls { b"S" } else { b"N" });
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Paper {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// The handshake of [`Paper`].
struct NoWrap;

impl TlsConnect<Paper> for NoWrap {
    type Stream = Paper;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Ready<Result<Paper, Self::Error>>;

    fn connect(self, stream: Paper) -> Self::Future {
        ready(Ok(stream))
    }
}
