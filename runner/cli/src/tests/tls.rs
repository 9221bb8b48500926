//! Golden texts of TLS errors, from servers with one fault each.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::error::Problem;
use pgtq_store::{DatabaseConfig, Store};

/// How a server responds to a connection.
enum Server {
    /// Accepts TLS and presents a certificate.
    Presents(TlsAcceptor),
    /// Sends these bytes.
    Sends(Vec<u8>),
    /// Accepts TLS and responds to the handshake with these bytes.
    Responds(&'static [u8]),
}

impl Server {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut head = [0; 8];
        stream.read_exact(&mut head).await?;
        match self {
            Server::Presents(acceptor) => {
                stream.write_all(b"S").await?;
                acceptor.accept(stream).await.map(drop)
            }
            Server::Sends(bytes) => {
                stream.write_all(bytes).await?;
                end(stream).await
            }
            Server::Responds(bytes) => {
                stream.write_all(b"S").await?;
                stream.read_exact(&mut head).await?;
                stream.write_all(bytes).await?;
                end(stream).await
            }
        }
    }
}

/// Closes the connection after the client has, so that the client receives all bytes.
async fn end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

/// An error response of Postgres.
fn error_response(code: &str, message: &str) -> Server {
    let fields = format!("SFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4)
        .expect("short")
        .to_be_bytes();
    Server::Sends([b"E", &length[..], fields.as_bytes()].concat())
}

/// A certificate authority, which creates servers with its certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn signs(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Server {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        presents(certificate.der().clone(), &key)
    }
}

fn presents(certificate: CertificateDer<'static>, key: &KeyPair) -> Server {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Server::Presents(TlsAcceptor::from(Arc::new(config.expect("a pair"))))
}

/// The error message for a server.
async fn message_for(server: Server, parameters: &str, dir: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            server.serve(stream).await.ok();
        }
    });
    let url = format!("postgresql://app@127.0.0.1:{port}/app?connect_timeout=20&{parameters}");
    let config = DatabaseConfig::parse(&url).expect("an address");
    let error = Store::connect(config).await.expect_err("it is wrong");
    serving.abort();
    let problem = Problem::from(error);
    let text = format!("[{}] {problem}", problem.exit as u8);
    text.replace(&port.to_string(), "PORT")
        .replace(&*dir.to_string_lossy(), "DIR")
}

#[tokio::test]
async fn tls_errors_name_the_cause_and_the_fix() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("ours");
    let file = dir.path().join("root.pem");
    fs::write(&file, authority.certificate.pem()).expect("written");
    fs::write(dir.path().join("empty.pem"), "nothing\n").expect("written");
    let listed = |mode: &str, file: &str| {
        format!("sslmode={mode}&sslrootcert={}/{file}", dir.path().display())
    };
    let (full, ca) = (
        listed("verify-full", "root.pem"),
        listed("verify-ca", "root.pem"),
    );
    let sound = |_: &mut CertificateParams| {};
    let itself = |is_ca: IsCa| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        presents(
            params.self_signed(&key).expect("signed").der().clone(),
            &key,
        )
    };
    let cases = [
        (
            "signed by another CA",
            Authority::new("theirs").signs(&["127.0.0.1"], sound),
            &full,
        ),
        (
            "signed by another CA of the same name",
            Authority::new("ours").signs(&["127.0.0.1"], sound),
            &full,
        ),
        ("self-signed", itself(IsCa::NoCa), &ca),
        (
            "self-signed, as created by openssl",
            itself(IsCa::Ca(BasicConstraints::Unconstrained)),
            &ca,
        ),
        (
            "expired",
            authority.signs(&["127.0.0.1"], |params| {
                params.not_before = date_time_ymd(2001, 2, 3);
                params.not_after = date_time_ymd(2002, 3, 4);
            }),
            &ca,
        ),
        (
            "not valid yet",
            authority.signs(&["127.0.0.1"], |params| {
                params.not_before = date_time_ymd(3001, 2, 3);
                params.not_after = date_time_ymd(3002, 3, 4);
            }),
            &ca,
        ),
        (
            "for other names",
            authority.signs(&["db.example", "127.0.0.2"], sound),
            &full,
        ),
        ("for no name", authority.signs(&[], sound), &full),
        (
            "not for servers",
            authority.signs(&["127.0.0.1"], |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
            &full,
        ),
        (
            "no TLS, with sslmode=require",
            Server::Sends(b"N".to_vec()),
            &"sslmode=require".to_owned(),
        ),
        (
            "no TLS, with sslmode=verify-full",
            Server::Sends(b"N".to_vec()),
            &full,
        ),
        (
            "another protocol",
            Server::Responds(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            &"sslmode=require".to_owned(),
        ),
        (
            "an older TLS",
            Server::Responds(b"\x15\x03\x01\x00\x02\x02\x46"),
            &"sslmode=require".to_owned(),
        ),
        (
            "Postgres that requires TLS",
            error_response(
                "28000",
                "no pg_hba.conf entry for host \"10.0.0.1\", user \"app\", database \"app\", no encryption",
            ),
            &"sslmode=disable".to_owned(),
        ),
        (
            "PgBouncer that requires TLS",
            error_response("08P01", "SSL required"),
            &"sslmode=disable".to_owned(),
        ),
        (
            "a missing CA file",
            Server::Sends(Vec::new()),
            &listed("verify-ca", "none.pem"),
        ),
        (
            "a CA file without certificates",
            Server::Sends(Vec::new()),
            &listed("verify-ca", "empty.pem"),
        ),
    ];
    let mut golden = Vec::new();
    for (what, server, parameters) in cases {
        golden.push(format!(
            "- {what}\n{}",
            message_for(server, parameters, dir.path()).await
        ));
    }
    insta::assert_snapshot!(golden.join("\n\n"));
}
