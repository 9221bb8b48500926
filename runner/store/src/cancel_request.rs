//! The request to stop a connection's statement, as the driver would send it.
//!
//! The driver keeps what the request is made of to itself, and hangs up as soon as it
//! has sent one. So it is had to write it down here, for who sends it otherwise.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Its length, a code, the id of the process and a secret, each of four bytes.
#[derive(Clone, Copy)]
pub(super) struct CancelRequest([u8; 16]);

impl CancelRequest {
    /// The request of this connection. `None` if the driver wrote something else.
    pub(super) async fn of(
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
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The process whose statement it stops.
    pub(super) fn process(&self) -> i32 {
        let [.., a, b, c, d, _, _, _, _] = self.0;
        i32::from_be_bytes([a, b, c, d])
    }
}

/// Takes down what the driver would send to cancel a statement, and sends nothing.
#[derive(Clone)]
struct Paper {
    written: Arc<Mutex<Vec<u8>>>,
    /// What it answers to the question for TLS. Where the driver goes on without, it
    /// does: a handshake wants a host's name, which a socket has not.
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
        // The only question there is before a request to cancel.
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
