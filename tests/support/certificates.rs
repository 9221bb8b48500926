//! Certificate authorities and the certificates that they sign, created per test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A certificate authority that is not in the system's trust store.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A server's certificate and its key, in PEM form.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key pair is generated");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate is created");
        let dir = tempfile::Builder::new()
            .prefix("pgtq-authority-")
            .tempdir()
            .expect("a temporary directory is created");
        fs::write(dir.path().join("root.pem"), certificate.pem()).expect("a file is written");
        Authority {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// The file of the authority's certificate, for `sslrootcert`.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// The authority's own certificate as a server certificate, as `openssl req -x509`
    /// creates it: self-signed, with a common name only.
    pub fn self_signed(&self) -> Identity {
        Identity {
            certificate: fs::read_to_string(self.file()).expect("the file exists"),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// A certificate for a server with these names.
    pub fn identity(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are valid");
        let key = KeyPair::generate().expect("a key pair is generated");
        let signed = params.signed_by(&key, &self.issuer);
        Identity {
            certificate: signed.expect("a certificate is signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes both to `dir`. Returns the paths of certificate and key.
    pub(crate) fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key.pem"));
        fs::write(&certificate, &self.certificate).expect("a file is written");
        fs::write(&key, &self.key).expect("a file is written");
        (certificate, key)
    }
}
