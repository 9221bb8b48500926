//! From checked addresses to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::net::error::NetError;

/// Maximum number of addresses that are tried.
const TRIES: usize = 8;
/// After this time without an answer the next address is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects to the first of the addresses that answers, in their order. Only for
/// addresses that [`crate::net::network::Net::resolve`] returned. Cancel-safe.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, NetError> {
    let mut failed = NetError::Timeout;
    let tries = &addresses[..addresses.len().min(TRIES)];
    for (tried, address) in tries.iter().enumerate() {
        let is_last = tried + 1 == tries.len();
        let until = match is_last {
            true => deadline,
            false => deadline.min(Instant::now() + PATIENCE),
        };
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and written at once: waiting for more data costs a
                // round trip.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Ok(Err(source)) => {
                failed = NetError::Connect {
                    address: *address,
                    source,
                };
            }
            Err(_elapsed) if Instant::now() >= deadline => return Err(NetError::Timeout),
            Err(_elapsed) => {}
        }
    }
    Err(failed)
}
