//! Messages for TLS errors: the cause, and the next step.

use std::error::Error as _;
use std::io;
use std::path::Path;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, Error};

use crate::connect::config::DatabaseConfig;
use crate::connect::config::mode::TlsMode;
use crate::connect::error::StoreError;

const INSPECT: &str = "inspect it with `openssl s_client -starttls postgres -showcerts -connect HOST:PORT`; if it is not the server's certificate, the connection is being intercepted";
const ROOT: &str = "set sslrootcert=FILE to the certificate of the CA that signed it, or to the certificate itself if it is self-signed";
const TIME: &str = "renew the certificate on the server, or correct the clock of this machine";
const NAME: &str = "use a host name that the certificate contains, or issue a certificate for this name; sslmode=verify-ca does not check names";
const NO_TLS: &str = "check that this is the port of Postgres; enable TLS on the server (`ssl` in Postgres, `client_tls_sslmode` in PgBouncer), or set sslmode=prefer if the network is trusted";
const NOT_TLS: &str = "check that this is the port of Postgres or of a pooler; sslmode=disable shows what answers there without TLS";
const OLD_TLS: &str =
    "TLS 1.2 or 1.3 is required: check `ssl_min_protocol_version` and `ssl_ciphers` on the server";
const REQUIRED: &str = "set sslmode=require, or sslmode=verify-full to verify the server";

/// The error of a failed connection attempt if TLS is its cause. Transient, because
/// certificates are renewed while runners wait.
pub(crate) fn explain(
    error: &tokio_postgres::Error,
    config: &DatabaseConfig,
) -> Option<StoreError> {
    let (message, hint) = match of_tls(error) {
        Some(error) => explain_tls(error, config),
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

/// The error if only one side uses TLS.
fn without_tls(
    error: &tokio_postgres::Error,
    config: &DatabaseConfig,
) -> Option<(String, &'static str)> {
    if let Some(answer) = error.as_db_error() {
        // The messages of PgBouncer and of newer and older Postgres. In other modes TLS was
        // tried, and these messages have another cause.
        let wants_tls = config.tls == TlsMode::Disable
            && ["SSL required", "no encryption", "SSL off"]
                .iter()
                .any(|words| answer.message().contains(words));
        return wants_tls.then(|| (answer.message().to_owned(), REQUIRED));
    }
    // The driver has no code for it.
    let has_none = error.source()?.to_string() == "server does not support TLS";
    has_none.then(|| {
        let mode = match config.tls {
            TlsMode::VerifyFull => "verify-full",
            TlsMode::VerifyCa => "verify-ca",
            _ => "require",
        };
        let message = format!("the server does not support TLS, which sslmode={mode} requires");
        (message, NO_TLS)
    })
}

fn explain_tls(error: &Error, config: &DatabaseConfig) -> (String, &'static str) {
    match error {
        Error::InvalidCertificate(error) => certificate(error, config),
        Error::InvalidMessage(_) | Error::InappropriateHandshakeMessage { .. } => {
            (format!("the server does not speak TLS: {error}"), NOT_TLS)
        }
        Error::AlertReceived(_) | Error::PeerIncompatible(_) => (
            format!("no TLS version or cipher in common: {error}"),
            OLD_TLS,
        ),
        _ => (error.to_string(), INSPECT),
    }
}

fn certificate(error: &CertificateError, config: &DatabaseConfig) -> (String, &'static str) {
    use CertificateError as E;
    let list = list(config.tls_root.as_deref());
    match error {
        E::UnknownIssuer => (
            format!("its certificate is not signed by any CA in {list}"),
            ROOT,
        ),
        E::BadSignature => (
            format!(
                "its certificate names a CA in {list} as its issuer, but that CA did not sign it"
            ),
            ROOT,
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
        E::Other(error) => (
            format!("its certificate was rejected: {}", error.0),
            INSPECT,
        ),
        error => (format!("its certificate was rejected: {error}"), INSPECT),
    }
}

/// The CA list, for an error.
pub(super) fn list(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the system's CA list".to_owned(),
        |file| file.display().to_string(),
    )
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
