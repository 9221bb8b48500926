//! Why a request was not made or not answered: an error for the guest, and a line in the
//! log for problems that the author or operator must fix.

use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::attempt::denied::Denied;
use crate::attempt::logs::SharedLogs;
use crate::net::error::NetError;
use pgtq_task::{LogLevel, Network};

/// A request that ends without a response.
pub(super) enum HttpFailure {
    /// Not requested or not granted.
    Denied(Denied, Error),
    /// Invalid; the line says why.
    Wrong(Error, String),
    /// The error is self-explanatory.
    Failed(Error),
}

impl From<Error> for HttpFailure {
    fn from(error: Error) -> Self {
        HttpFailure::Failed(error)
    }
}

impl HttpFailure {
    /// The log line, if it is to be logged.
    pub(super) fn message(&self) -> Option<&str> {
        match self {
            HttpFailure::Denied(denied, _) => Some(&denied.what),
            HttpFailure::Wrong(_, line) => Some(line),
            HttpFailure::Failed(_) => None,
        }
    }

    /// The guest's error alone.
    pub(super) fn error(self) -> Error {
        match self {
            HttpFailure::Denied(_, error)
            | HttpFailure::Wrong(error, _)
            | HttpFailure::Failed(error) => error,
        }
    }

    /// Logs the line, if any; returns the guest's error.
    pub(super) fn report(self, plugin: Option<&str>, logs: &SharedLogs) -> Error {
        match self {
            HttpFailure::Denied(denied, error) => {
                denied.report_to(plugin, logs);
                error
            }
            HttpFailure::Wrong(error, line) => {
                // Ignores the limit: the next line that the guest itself writes enforces
                // it.
                let _ = logs.lock().write(LogLevel::Warn, &line, "");
                error
            }
            HttpFailure::Failed(error) => error,
        }
    }

    /// The error for a connection to `what` that was denied or failed.
    pub(super) fn of_net(error: NetError, what: &str, granted: &[Network]) -> Self {
        let grant = error.grant(granted);
        let message = format!("{what}: {error}");
        match error {
            NetError::Prohibited { .. } if grant.is_some() => {
                let denied = Denied {
                    what: message,
                    need: None,
                    grant,
                };
                HttpFailure::Denied(denied, Error::DestinationIpProhibited)
            }
            NetError::Prohibited { .. } => {
                tracing::warn!("denied {message}");
                HttpFailure::Wrong(Error::DestinationIpProhibited, format!("denied {message}"))
            }
            NetError::BadHost(_) => {
                HttpFailure::Wrong(Error::HttpRequestUriInvalid, format!("denied {message}"))
            }
            NetError::NoConnection | NetError::NoLookup => {
                HttpFailure::Wrong(Error::ConnectionLimitReached, message)
            }
            NetError::Lookup { reason, .. } => HttpFailure::Failed(Error::DnsError {
                rcode: Some(reason),
                info_code: None,
            }),
            NetError::Timeout => HttpFailure::Failed(Error::ConnectionTimeout),
            NetError::Connect { source, .. } => HttpFailure::Failed(match source.kind() {
                std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                std::io::ErrorKind::ConnectionReset => Error::ConnectionTerminated,
                std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
                    Error::DestinationUnavailable
                }
                _ => Error::InternalError(Some(format!("connect: {source}"))),
            }),
            NetError::Tls(reason) => {
                HttpFailure::Wrong(Error::ConfigurationError, format!("{what}: {reason}"))
            }
        }
    }
}

/// A failed handshake. The line in the log is for the operator who must add a certificate
/// authority, or detect an interception.
pub(super) fn of_tls(error: &std::io::Error, what: &str) -> HttpFailure {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    let code = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        _ => Error::TlsProtocolError,
    };
    HttpFailure::Wrong(code, format!("{what}: {error}"))
}

/// Maps hyper's error about a response.
pub(super) fn of_hyper(error: &hyper::Error) -> Error {
    use std::error::Error as _;

    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_parse() {
        return Error::HttpProtocolError;
    }
    match error
        .source()
        .and_then(|e| e.downcast_ref::<std::io::Error>())
    {
        Some(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => Error::HttpResponseIncomplete,
        Some(_) => Error::ConnectionTerminated,
        None => Error::HttpProtocolError,
    }
}

/// The error that a guest gets when reading a body failed; none if the body is not ours.
pub(super) fn code_of(error: &IoError) -> Option<ErrorCode> {
    if let Some(code) = error.downcast_ref::<ErrorCode>() {
        return Some(code.clone());
    }
    Some(match error.downcast_ref::<Error>()? {
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpRequestBodySize(size) => ErrorCode::HttpRequestBodySize(*size),
        Error::HttpResponseHeaderSectionSize(size) => {
            ErrorCode::HttpResponseHeaderSectionSize(*size)
        }
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        _ => ErrorCode::HttpProtocolError,
    })
}
