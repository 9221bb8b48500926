//! Servers on loopback whose answers a test defines.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::capability::http::budget::HttpTransport;

/// A server that ends with the test.
pub(super) struct Server {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection whose request was read.
pub(super) type Conn = Box<dyn HttpTransport>;

impl Server {
    /// Sends these bytes to every client.
    pub(super) async fn answering(response: impl Into<Vec<u8>>) -> Server {
        let response = Arc::new(response.into());
        Server::start(None, move |mut conn: Conn| {
            let response = Arc::clone(&response);
            async move {
                conn.write_all(&response).await.ok();
                conn.shutdown().await.ok();
            }
        })
        .await
    }

    /// Passes every connection on when its request was read.
    pub(super) async fn start<S>(
        tls: Option<TlsAcceptor>,
        serve: impl Fn(Conn) -> S + Send + 'static,
    ) -> Server
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let mut conn: Conn = match &tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                    None => Box::new(stream),
                };
                let request = read(&mut conn).await;
                let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
                requests.push(request);
                drop(requests);
                tokio::spawn(serve(conn));
            }
        });
        Server { port, seen, task }
    }

    /// The requests so far, head and body.
    pub(super) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// Reads a head, and as much of a body as it announces.
pub(super) async fn read(conn: &mut Conn) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|n| n.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text.into_owned();
            }
        }
        match conn.read(&mut buffer).await {
            Ok(0) | Err(_) => return text.into_owned(),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// For `secure.example` and 127.0.0.1, signed by the CA of [`authority`].
pub(super) fn tls() -> TlsAcceptor {
    let chain = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key.pem"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain.expect("a certificate")], key.expect("a key"));
    TlsAcceptor::from(Arc::new(config.expect("a configuration")))
}

/// A CA that no system trusts.
pub(super) fn authority() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(include_bytes!("tls/authority.pem"));
    roots.add(authority.expect("a certificate")).expect("taken");
    roots
}
