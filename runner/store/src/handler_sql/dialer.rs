//! The way to the database for handlers' connections, under a byte budget.
//!
//! The driver's own connect function owns the socket, so no stream can wrap it. This code
//! therefore tries the hosts of the URL itself.

use std::sync::Arc;

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::config::DatabaseConfig;
use crate::handler_sql::budget::{ByteBudget, MeteredStream};
use pgtq_task::GuestError;

/// Byte budget for logging in, and for the answer to any of pgtq's own statements.
pub(super) const OWN_BYTES: u64 = 1 << 20;

/// Opens handlers' connections: to the runner's database, under another role.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) config: DatabaseConfig,
    pub(super) tls: MakeRustlsConnect,
}

impl Dialer {
    pub(super) async fn dial(
        &self,
        place: usize,
        budget: Arc<ByteBudget>,
    ) -> std::io::Result<MeteredStream> {
        let config = &self.config.postgres;
        let ports = config.get_ports();
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        let stream = match (
            config.get_hostaddrs().get(place),
            config.get_hosts().get(place),
        ) {
            (Some(address), _) => TcpStream::connect((*address, port)).await?,
            (None, Some(Host::Tcp(name))) => TcpStream::connect((name.as_str(), port)).await?,
            #[cfg(unix)]
            (None, Some(Host::Unix(directory))) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                return Ok(MeteredStream::new(UnixStream::connect(path).await?, budget));
            }
            _ => return Err(std::io::Error::other("the address has no such host")),
        };
        stream.set_nodelay(true)?;
        Ok(MeteredStream::new(stream, budget))
    }

    pub(super) fn tls_for(
        &self,
        place: usize,
    ) -> Result<<MakeRustlsConnect as MakeTlsConnect<MeteredStream>>::TlsConnect, GuestError> {
        let config = &self.config.postgres;
        let name = match (
            config.get_hosts().get(place),
            config.get_hostaddrs().get(place),
        ) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (_, Some(address)) => address.to_string(),
            _ => String::new(),
        };
        MakeTlsConnect::<MeteredStream>::make_tls_connect(&mut self.tls.clone(), &name)
            .map_err(|error| unreachable(self, &error.to_string()))
    }
}

pub(super) fn unreachable(dialer: &Dialer, why: &str) -> GuestError {
    GuestError::new(
        "unavailable",
        format!("reach the database at {}: {why}", dialer.config.place()),
    )
}
