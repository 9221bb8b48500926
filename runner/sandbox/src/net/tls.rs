//! TLS for outgoing connections: rustls with ring, and the certificate authorities that
//! this machine trusts.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// With the system's certificate authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` override
/// them. Reads files: not for the threads of the runtime.
pub(crate) fn system() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // System lists contain a few that rustls rejects; the rest is used.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(format!(
            "this machine has no list of certificate authorities: install ca-certificates, or name a file in SSL_CERT_FILE {}",
            reasons.join("; ")
        ));
    }
    trusting(roots)
}

/// With these certificate authorities.
pub(crate) fn trusting(roots: RootCertStore) -> Result<TlsConnector, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
