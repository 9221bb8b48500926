//! Connects to the first host of an address that accepts writes.
//!
//! The driver could iterate over the hosts, too. But its timeout covers only opening the socket,
//! and a host that accepts connections and never answers would block all others.

use tokio_postgres::Client;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::config::DatabaseConfig;
use crate::connect::error::{StoreError, classify_connect};
use crate::connect::{pooler, tls};

/// Time limit for detecting a pooler.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The future that drives a client.
pub(crate) type PostgresConnection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

/// A connection driven in the background.
pub(crate) async fn dial(
    config: &DatabaseConfig,
    tls: &MakeRustlsConnect,
) -> Result<Client, StoreError> {
    let (client, connection) = dial_raw(config, tls).await?;
    tokio::spawn(async move {
        // The running statement reports the error.
        connection.await.ok();
    });
    Ok(client)
}

/// A connection that the caller drives.
pub(crate) async fn dial_raw(
    config: &DatabaseConfig,
    tls: &MakeRustlsConnect,
) -> Result<(Client, PostgresConnection), StoreError> {
    let each = config.time_per_host();
    let mut last = None;
    for place in config.places() {
        // Recorded before, not after: the caller may drop this future.
        config.try_last(place);
        let mut host = config.only(place);
        host.connect_timeout(each);
        match tokio::time::timeout(each, host.connect(tls.clone())).await {
            Ok(Ok(pair)) => {
                config.try_first(place);
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

/// Whether the server at this address is a pooler.
pub(crate) async fn is_pooled(
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
