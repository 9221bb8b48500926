//! The end of a connection whose statement is cut short: by its deadline, or because
//! its attempt is over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::TlsConnect as _;

use super::budget::Budget;
use super::dial::{Dialer, Line, OWN_BYTES};
use crate::cancel_request::CancelRequest;

/// How long a statement that is to stop may take to do so.
const PATIENCE: Duration = Duration::from_secs(5);
/// Then it is told again: the first time it may not have begun, or have caught it.
const AGAIN: Duration = Duration::from_secs(1);
/// What a client asks first that wants TLS.
const HAS_TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Asks the server to stop the statement of one connection.
pub(super) struct Stopper {
    pub(super) dialer: Dialer,
    pub(super) place: usize,
    pub(super) request: Option<CancelRequest>,
}

impl Line {
    /// Stops the statement under way, and hangs up when it has ended. Not before: a
    /// pooler lets nobody stop the statement of a client that is gone, and who takes
    /// this one's place would have the server run both.
    pub(super) async fn stop(self) {
        let Line {
            client,
            mut driver,
            stopper,
            ..
        } = self;
        // Without its client the driver hangs up as soon as nothing is under way.
        drop(client);
        let stopping = async {
            loop {
                let ending = tokio::time::timeout(AGAIN, &mut driver);
                if let (Ok(_), _) = tokio::join!(ending, stopper.tell()) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, stopping).await.is_err() && !driver.is_finished() {
            tracing::warn!(
                "a statement of a handler does not stop: its connection is given up, and the server may go on with it"
            );
            driver.abort();
        }
    }
}

impl Stopper {
    /// Best effort: the statement may have ended meanwhile.
    async fn tell(&self) -> Option<()> {
        let request = self.request?;
        let config = &self.dialer.config.postgres;
        let budget = Arc::new(Budget::default());
        budget.allow(OWN_BYTES);
        let mut stream = self.dialer.dial(self.place, budget).await.ok()?;
        let in_tls = match (config.get_ssl_mode(), config.get_ssl_negotiation()) {
            (SslMode::Disable, _) => false,
            (_, SslNegotiation::Direct) => true,
            (mode, _) => {
                stream.write_all(&HAS_TLS).await.ok()?;
                match stream.read_u8().await.ok()? {
                    b'S' => true,
                    _ if mode == SslMode::Require => return None,
                    _ => false,
                }
            }
        };
        let sent = match in_tls {
            true => {
                let tls = self.dialer.tls_for(self.place).ok()?;
                send(tls.connect(stream).await.ok()?, request).await
            }
            false => send(stream, request).await,
        };
        sent.ok()
    }
}

/// Sends the request and waits until the other side hangs up, which says that it was
/// passed on. PgBouncer 1.18 dies of one whose sender hangs up first.
async fn send(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: CancelRequest,
) -> io::Result<()> {
    stream.write_all(request.bytes()).await?;
    stream.flush().await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}
