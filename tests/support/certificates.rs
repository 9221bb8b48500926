//! Authorities and the certificates that they sign, created for each test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority that nobody knows who was not told.
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
    /// A new one.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key is made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate is made");
        let dir = tempfile::Builder::new()
            .prefix("pgtq-authority-")
            .tempdir()
            .expect("a temporary directory is made");
        fs::write(dir.path().join("root.pem"), certificate.pem()).expect("a file is written");
        Authority {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// The file with its own certificate, for `sslrootcert`.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// Its own certificate for a server, as `openssl req -x509` makes it: signed by
    /// itself, with no name but the common one.
    pub fn itself(&self) -> Identity {
        Identity {
            certificate: fs::read_to_string(self.file()).expect("it was written"),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// A certificate for a server of these names.
    pub fn identity(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("these are names");
        let key = KeyPair::generate().expect("a key is made");
        let signed = params.signed_by(&key, &self.issuer);
        Identity {
            certificate: signed.expect("a certificate is signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes both to `dir`: the paths of certificate and key.
    pub(crate) fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key.pem"));
        fs::write(&certificate, &self.certificate).expect("a file is written");
        fs::write(&key, &self.key).expect("a file is written");
        (certificate, key)
    }
}
