//! Whether a pooler stands between us and Postgres.
//!
//! A server tells each connection the id of its process, with which the connection
//! can ask to cancel a statement. A pooler tells an id of its own making, because the
//! process behind it changes. So the id that a cancel request would name is compared
//! with that of the process which answers. Does not tell modes of pooling apart.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Asks by one simple statement, which every mode of every pooler lets pass.
pub(super) async fn is_between(
    client: &Client,
    config: &tokio_postgres::Config,
) -> Result<bool, tokio_postgres::Error> {
    let answer = client.simple_query(include_str!("sql/backend.sql")).await?;
    let answers = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i32>().ok(),
        _ => None,
    });
    let paper = Paper {
        written: Arc::default(),
        has_tls: config.get_ssl_mode() == SslMode::Require,
    };
    client
        .cancel_token()
        .cancel_query_raw(paper.clone(), NoWrap)
        .await?;
    let told = paper.process();
    Ok(answers.is_some() && told.is_some() && answers != told)
}

/// Takes down what the driver would send to cancel a statement, and sends nothing.
#[derive(Clone)]
struct Paper {
    written: Arc<Mutex<Vec<u8>>>,
    /// What it answers to the question for TLS. Where the driver goes on without, it
    /// does: a handshake wants a host's name, which a socket has not.
    has_tls: bool,
}

impl Paper {
    /// The process that the request names: its last eight bytes are that and a secret.
    fn process(&self) -> Option<i32> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (rest, _secret) = written.split_last_chunk::<4>()?;
        rest.last_chunk().copied().map(i32::from_be_bytes)
    }
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
