//! A way to Postgres that breaks at the worst moment: when a commit is sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// `COMMIT` as the simple query that ends a handler's transaction.
const COMMIT: &[u8] = b"COMMIT\0";

/// Passes connections of one role on, and cuts every commit of three in turn:
/// before the server hears of it, before its answer comes back, not at all.
/// Connections of other roles are never cut.
pub(crate) struct Proxy {
    port: u16,
    n_commits: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens on loopback for a server whose socket is in this directory.
    pub(crate) async fn start(socket_dir: PathBuf, role: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let n_commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_commits);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = socket_dir.join(".s.PGSQL.5432");
                let (role, counted) = (role.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let server = UnixStream::connect(server)
                        .await
                        .expect("the server is there");
                    // Ends with either side; what it returns tells nobody anything.
                    pass(client, server, &role, &counted).await.ok();
                });
            }
        });
        Proxy { port, n_commits }
    }

    /// The address of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgresql://pgtq@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Commits of the role that were seen.
    pub(crate) fn n_commits(&self) -> usize {
        self.n_commits.load(SeqCst)
    }
}

async fn pass(
    client: TcpStream,
    server: UnixStream,
    role: &str,
    n_commits: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut bytes = vec![0; 64 << 10];
    let mut is_theirs = false;
    let answers = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    loop {
        let n = from_client.read(&mut bytes).await?;
        if n == 0 {
            answers.abort();
            return Ok(());
        }
        let sent = &bytes[..n];
        is_theirs |= holds(sent, format!("user\0{role}\0").as_bytes());
        if is_theirs && holds(sent, COMMIT) {
            match n_commits.fetch_add(1, SeqCst) % 3 {
                0 => {
                    answers.abort();
                    return Ok(());
                }
                1 => {
                    // Nobody carries the answer any more; then the server hears it.
                    answers.abort();
                    let _ = answers.await;
                    to_server.write_all(sent).await?;
                    to_server.shutdown().await?;
                    return Ok(());
                }
                _ => {}
            }
        }
        to_server.write_all(sent).await?;
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    tokio::io::copy(from, to).await.map(|_| ())
}
