//! TLS for the connection: libpq's modes in terms of rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseConfig, StoreError, TlsMode};

use self::verifier::{Checks, Known, Verifier};

mod verifier;
mod words;

pub(super) use words::explain;

/// The connector for `config`, the same for every connection.
pub(super) fn connector(config: &DatabaseConfig) -> Result<MakeRustlsConnect, StoreError> {
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
            Some(Known {
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

/// Where the usual systems keep their authorities in one file.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The file that lists whom to trust.
fn list(file: Option<&Path>) -> Result<PathBuf, String> {
    let from_variable = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    file.map(Path::to_owned)
        .or(from_variable)
        .or_else(|| {
            SYSTEM_ROOTS
                .iter()
                .map(Into::into)
                .find(|p: &PathBuf| p.exists())
        })
        .ok_or_else(|| "this machine has no list of certificate authorities".to_owned())
}

fn roots(file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let path = list(file)?;
    let name = path.display();
    let (mut store, mut listed) = (RootCertStore::empty(), Vec::new());
    let certificates = CertificateDer::pem_file_iter(&path)
        .map_err(|error| format!("read the authorities in {name}: {error}"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("read the authorities in {name}: {error}"))?;
        // System lists hold a few that rustls does not take; the rest still counts.
        store.add(certificate.clone()).ok();
        listed.push(certificate);
    }
    if store.is_empty() {
        return Err(format!("{name} holds no certificate of an authority"));
    }
    Ok((store, listed))
}

#[cfg(test)]
mod tests;
