//! Closes a connection whose statement is cancelled: at its deadline, or because its attempt has
//! ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::TlsConnect as _;

use crate::connect::cancel_request::CancelRequest;
use crate::handler_sql::budget::ByteBudget;
use crate::handler_sql::dialer::{Dialer, OWN_BYTES};

/// How long a cancelled statement may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);
/// When the request is repeated: the first one may arrive before the statement starts, or the
/// statement may have trapped it.
const AGAIN: Duration = Duration::from_secs(1);
/// The SSLRequest message that starts TLS negotiation.
const HAS_TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A connection and its cancel handle.
pub(super) struct CancellableConnection {
    pub(super) client: Client,
    pub(super) budget: Arc<ByteBudget>,
    pub(super) driver: JoinHandle<()>,
    pub(super) stopper: Stopper,
}

/// Cancels the running statement of one connection.
pub(super) struct Stopper {
    pub(super) dialer: Dialer,
    pub(super) place: usize,
    pub(super) request: Option<CancelRequest>,
}

impl CancellableConnection {
    /// Cancels the running statement and closes the connection when the statement has ended. Not
    /// before: a pooler does not let the statement of a disconnected client be cancelled, and
    /// the next client on that server connection would wait while the server runs both.
    pub(super) async fn stop(self) {
        let CancellableConnection {
            client,
            mut driver,
            stopper,
            ..
        } = self;
        // Without its client, the driver closes the connection as soon as no statement is
        // running.
        drop(client);
        let stopping = async {
            loop {
                let ending = tokio::time::timeout(AGAIN, &mut driver);
                if let (Ok(_), _) = tokio::join!(ending, stopper.send_cancel()) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, stopping).await.is_err() && !driver.is_finished() {
            tracing::warn!(
                "a handler's statement does not stop: its connection is abandoned, and the server may continue to run it"
            );
            driver.abort();
        }
    }
}

impl Stopper {
    /// Best effort: the statement may have ended meanwhile.
    async fn send_cancel(&self) -> Option<()> {
        let request = self.request?;
        let config = &self.dialer.config.postgres;
        let budget = Arc::new(ByteBudget::default());
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

/// Sends the request and waits until the peer closes, which confirms that the request was
/// forwarded. PgBouncer 1.18 crashes if the sender closes first.
async fn send(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: CancelRequest,
) -> io::Result<()> {
    stream.write_all(request.bytes()).await?;
    stream.flush().await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}
