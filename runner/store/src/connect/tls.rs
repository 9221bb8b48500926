//! TLS for the connection: libpq's modes in terms of rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::config::DatabaseConfig;
use crate::connect::config::mode::TlsMode;
use crate::connect::error::StoreError;
use crate::connect::tls::verifier::{Checks, TrustedCertificates, Verifier};

mod explain;
mod verifier;

pub(crate) use explain::explain;
use explain::list;

/// The connector for `config`, the same for every connection.
pub(crate) fn connector(config: &DatabaseConfig) -> Result<MakeRustlsConnect, StoreError> {
    client(config).map(MakeRustlsConnect::new)
}

fn client(config: &DatabaseConfig) -> Result<ClientConfig, StoreError> {
    let refuse = |message: String| StoreError::Unreachable {
        place: config.place(),
        message,
        hint: Some("sslrootcert=FILE names a file of authorities' certificates in PEM form"),
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    let checks = match config.tls {
        TlsMode::Disable | TlsMode::Prefer => Checks::Nothing,
        // As in libpq: who names a list wants it read.
        TlsMode::Require if config.tls_root.is_none() => Checks::Nothing,
        TlsMode::Require | TlsMode::VerifyCa => Checks::Authority,
        TlsMode::VerifyFull => Checks::AuthorityAndName,
    };
    let known = match checks {
        Checks::Nothing => None,
        _ => {
            let (roots, listed) = roots(config.tls_root.as_deref()).map_err(refuse)?;
            let authorities =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| refuse(error.to_string()))?;
            Some(TrustedCertificates {
                authorities,
                listed,
            })
        }
    };
    let verifier = Verifier {
        provider,
        known,
        checks,
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The authorities to trust, and their certificates as they are listed: those in
/// `file`, else those of this machine. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others,
/// here as in the sandbox. Reads files.
fn roots(file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let listed = match file {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| format!("read the authorities in {}: {error}", file.display()))?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "this machine has no list of certificate authorities {}",
                    reasons.join("; ")
                ));
            }
            found.certs
        }
    };
    let mut store = RootCertStore::empty();
    // System lists hold a few that rustls does not take; the rest still counts.
    store.add_parsable_certificates(listed.iter().cloned());
    match store.is_empty() {
        true => Err(format!(
            "{} holds no certificate of an authority",
            list(file)
        )),
        false => Ok((store, listed)),
    }
}

#[cfg(test)]
mod tests;
