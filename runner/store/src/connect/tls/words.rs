//! What went wrong with TLS, for people: the cause, and what to do about it.

use std::error::Error as _;
use std::io;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, Error};

use crate::connect::config::DatabaseConfig;
use crate::connect::config::mode::TlsMode;
use crate::connect::error::StoreError;
use crate::connect::tls::list;

const LOOK: &str = "look at it with `openssl s_client -starttls postgres -showcerts -connect HOST:PORT`; if it is not the server's, somebody stands in between";
const LISTED: &str = "name the file with the certificate of the authority that signed it with sslrootcert=FILE; one that signed itself is listed itself";
const TIME: &str =
    "have it renewed there, or set the clock of this machine if it is that which is wrong";
const NAME: &str = "write the address with a name that it is for, or have one made for this name; sslmode=verify-ca does not look at names";
const NO_TLS: &str = "is this the port of Postgres? switch TLS on there (`ssl` in Postgres, `client_tls_sslmode` in PgBouncer), or say sslmode=prefer if the network is to be trusted";
const NOT_TLS: &str = "is this the port of Postgres, or of a pooler for it? sslmode=disable shows what answers there without TLS";
const OLD_TLS: &str =
    "TLS 1.2 or 1.3 is needed: look at `ssl_min_protocol_version` and `ssl_ciphers` there";
const ASK: &str = "if it takes nobody without TLS, say sslmode=require, or sslmode=verify-full to know who answers";

/// The error of an attempt to connect, if TLS is what it failed for. It may pass:
/// certificates are renewed while runners wait.
pub(crate) fn explain(
    error: &tokio_postgres::Error,
    config: &DatabaseConfig,
) -> Option<StoreError> {
    let (message, hint) = match of_tls(error) {
        Some(error) => words(error, config),
        None => without_tls(error, config)?,
    };
    Some(StoreError::Unreachable {
        place: config.place(),
        message,
        hint: Some(hint),
    })
}

/// The error of rustls below that of the driver: an I/O error wraps it, and does not
/// name it as its source.
fn of_tls(error: &tokio_postgres::Error) -> Option<&Error> {
    let mut source = error.source();
    while let Some(error) = source {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref()?.downcast_ref());
        if wrapped.is_some() {
            return wrapped;
        }
        source = error.source();
    }
    None
}

/// One side has TLS and the other has not.
fn without_tls(
    error: &tokio_postgres::Error,
    config: &DatabaseConfig,
) -> Option<(String, &'static str)> {
    if let Some(answer) = error.as_db_error() {
        // PgBouncer's words, and Postgres' newer and older ones. In other modes TLS was
        // tried, and these words have another cause.
        let wants_tls = config.tls == TlsMode::Disable
            && ["SSL required", "no encryption", "SSL off"]
                .iter()
                .any(|words| answer.message().contains(words));
        return wants_tls.then(|| (answer.message().to_owned(), ASK));
    }
    // The driver has no code for it.
    let has_none = error.source()?.to_string() == "server does not support TLS";
    has_none.then(|| {
        let mode = match config.tls {
            TlsMode::VerifyFull => "verify-full",
            TlsMode::VerifyCa => "verify-ca",
            _ => "require",
        };
        let message = format!("it has no TLS, and sslmode={mode} asks for it");
        (message, NO_TLS)
    })
}

fn words(error: &Error, config: &DatabaseConfig) -> (String, &'static str) {
    match error {
        Error::InvalidCertificate(error) => certificate(error, config),
        Error::InvalidMessage(_) | Error::InappropriateHandshakeMessage { .. } => {
            (format!("it does not go on in TLS: {error}"), NOT_TLS)
        }
        Error::AlertReceived(_) | Error::PeerIncompatible(_) => (
            format!("it does not agree on a form of TLS: {error}"),
            OLD_TLS,
        ),
        _ => (error.to_string(), LOOK),
    }
}

fn certificate(error: &CertificateError, config: &DatabaseConfig) -> (String, &'static str) {
    use CertificateError as E;
    let list = list(config.tls_root.as_deref());
    match error {
        E::UnknownIssuer => (
            format!("no authority in {list} signed its certificate"),
            LISTED,
        ),
        E::BadSignature => (
            format!("its certificate names an authority in {list}, which did not sign it"),
            LISTED,
        ),
        E::ExpiredContext { not_after, .. } => (
            format!("its certificate expired at {}", at(*not_after)),
            TIME,
        ),
        E::NotValidYetContext { not_before, .. } => (
            format!("its certificate is not valid before {}", at(*not_before)),
            TIME,
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => (for_others(expected, presented), NAME),
        E::Other(error) => (format!("its certificate is refused: {}", error.0), LOOK),
        error => (format!("its certificate is refused: {error}"), LOOK),
    }
}

fn at(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// `names` come as `DnsName("a")` and `IpAddress(::1)`, a common name as it is.
fn for_others(wanted: &ServerName<'_>, names: &[String]) -> String {
    let wanted = wanted.to_str();
    let names: Vec<&str> = names
        .iter()
        .map(|name| {
            name.split_once('(')
                .map_or(&**name, |(_, name)| name.trim_matches([')', '"']))
        })
        .collect();
    match names.is_empty() {
        true => format!("its certificate is not for {wanted}, nor for any other name"),
        false => format!(
            "its certificate is not for {wanted} but for {}",
            names.join(", ")
        ),
    }
}
