//! TLS for the connection: libpq's modes in terms of rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseConfig, StoreError, TlsMode};

mod words;

pub(super) use words::explain;

/// The connector for `config`, the same for every connection.
pub(super) fn connector(config: &DatabaseConfig) -> Result<MakeRustlsConnect, StoreError> {
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
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => Checks::Nothing,
        TlsMode::VerifyCa => Checks::Authority,
        TlsMode::VerifyFull => Checks::AuthorityAndName,
    };
    let inner = match checks {
        Checks::Nothing => None,
        _ => {
            let roots = roots(config.tls_root.as_deref()).map_err(refuse)?;
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| refuse(error.to_string()))?;
            Some(verifier)
        }
    };
    let verifier = Verifier {
        provider,
        inner,
        checks,
    };
    Ok(MakeRustlsConnect::new(
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
    ))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Checks {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// Checks as much of the server's certificate as the mode asks for; the
/// handshake's signature always.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    checks: Checks,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        // The chain is checked before the name, so a wrong name means a good chain.
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.checks == Checks::Authority => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
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

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let path = list(file)?;
    let name = path.display();
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&path)
        .map_err(|error| format!("read the authorities in {name}: {error}"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| format!("read the authorities in {name}: {error}"))?;
        // System lists hold a few that rustls does not take; the rest still counts.
        store.add(certificate).ok();
    }
    if store.is_empty() {
        return Err(format!("{name} holds no certificate of an authority"));
    }
    Ok(store)
}
