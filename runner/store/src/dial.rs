//! From an address to a connection: the first of its hosts that takes writes.
//!
//! The driver would walk the hosts, too. But its patience is for a socket to open, and a
//! host that takes connections and never answers would keep it from all others.

use tokio_postgres::Client;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::classify_connect;
use super::{DatabaseConfig, StoreError, pooler, tls};

/// Time to ask whether a pooler answers.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What drives a client.
pub(super) type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

/// A connection that is driven in the background.
pub(super) async fn dial(
    config: &DatabaseConfig,
    tls: &MakeRustlsConnect,
) -> Result<Client, StoreError> {
    let (client, connection) = dial_raw(config, tls).await?;
    tokio::spawn(async move {
        // The statement under way reports the error.
        connection.await.ok();
    });
    Ok(client)
}

/// A connection that the caller drives.
pub(super) async fn dial_raw(
    config: &DatabaseConfig,
    tls: &MakeRustlsConnect,
) -> Result<(Client, Connection), StoreError> {
    let each = config.time_per_host();
    let mut last = None;
    for place in config.places() {
        // Noted before and not after: whoever waits for this may go away.
        config.begin_behind(place);
        let mut host = config.only(place);
        host.connect_timeout(each);
        match tokio::time::timeout(each, host.connect(tls.clone())).await {
            Ok(Ok(pair)) => {
                config.begin_with(place);
                return Ok(pair);
            }
            Ok(Err(error)) => {
                last = tls::explain(&error, config)
                    .or_else(|| Some(classify_connect(config.place(), &error)));
            }
            Err(_) => last = Some(silent(config, each)),
        }
    }
    Err(last.expect("an address has a host"))
}

/// Whether what answers there is a pooler.
pub(super) async fn is_pooled(
    config: &DatabaseConfig,
    client: &Client,
) -> Result<bool, StoreError> {
    match tokio::time::timeout(PATIENCE, pooler::is_between(client, &config.postgres)).await {
        Ok(Ok(is_pooled)) => Ok(is_pooled),
        Ok(Err(error)) => Err(classify_connect(config.place(), &error)),
        Err(_) => Err(silent(config, PATIENCE)),
    }
}

fn silent(config: &DatabaseConfig, patience: std::time::Duration) -> StoreError {
    StoreError::Unreachable {
        place: config.place(),
        message: format!("no answer within {patience:?}"),
        hint: None,
    }
}
