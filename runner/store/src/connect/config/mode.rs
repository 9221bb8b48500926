//! libpq's `sslmode`, and the effect of `sslrootcert` on it.

use std::str::FromStr;

use crate::connect::config::error::{UrlError, wrong};

/// How the connection is protected; libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// TLS if the server supports it, unverified (also `allow`).
    Prefer,
    /// TLS; unverified, unless a CA file is given: then as `VerifyCa`.
    Require,
    /// TLS with a certificate of a trusted CA.
    VerifyCa,
    /// TLS with a certificate of a trusted CA for this host name.
    VerifyFull,
}

impl FromStr for TlsMode {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "disable" => TlsMode::Disable,
            "allow" | "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" => TlsMode::VerifyCa,
            "verify-full" => TlsMode::VerifyFull,
            _ => {
                return Err(wrong(format!(
                    "sslmode {text:?} is not one of disable, allow, prefer, require, verify-ca, verify-full"
                )));
            }
        })
    }
}

impl TlsMode {
    /// The mode with `sslrootcert=system`, as in libpq: a public CA signs certificates for any
    /// host, so a mode without verification is rejected, and the default is `VerifyFull`.
    pub(super) fn for_system_roots(said: Option<TlsMode>) -> Result<TlsMode, UrlError> {
        match said {
            None => Ok(TlsMode::VerifyFull),
            Some(mode @ (TlsMode::VerifyCa | TlsMode::VerifyFull)) => Ok(mode),
            Some(TlsMode::Disable | TlsMode::Prefer | TlsMode::Require) => Err(wrong(
                "sslrootcert=system goes with sslmode=verify-full: a weaker mode would not verify the certificate",
            )),
        }
    }
}
