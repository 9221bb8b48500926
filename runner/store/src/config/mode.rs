//! libpq's `sslmode`, and what follows from the list of authorities beside it.

use std::str::FromStr;

use super::{ConfigError, wrong};

/// How the connection is protected; libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// TLS where the server has it, unverified (also `allow`).
    Prefer,
    /// TLS; unverified, unless a list of authorities is named: then as `VerifyCa`.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority for this host.
    VerifyFull,
}

impl FromStr for TlsMode {
    type Err = ConfigError;

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
    /// The mode beside `sslrootcert=system`, as in libpq: whom everybody trusts signs
    /// for everybody, so a mode that checks nothing is refused, and none means the name
    /// too.
    pub(super) fn for_system_roots(said: Option<TlsMode>) -> Result<TlsMode, ConfigError> {
        match said {
            None => Ok(TlsMode::VerifyFull),
            Some(mode @ (TlsMode::VerifyCa | TlsMode::VerifyFull)) => Ok(mode),
            Some(TlsMode::Disable | TlsMode::Prefer | TlsMode::Require) => Err(wrong(
                "sslrootcert=system goes with sslmode=verify-full: a weaker one would not ask the authorities",
            )),
        }
    }
}
