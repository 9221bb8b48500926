//! A way to Postgres that breaks at the worst moment: when a commit is sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, watch};

/// `COMMIT` as the simple query that ends a handler's transaction.
const COMMIT: &[u8] = b"COMMIT\0";

/// What comes just before it, and prepares the transaction for its end.
const BEFORE_COMMIT: &[u8] = b"SET CONSTRAINTS ALL IMMEDIATE";

/// What happens to the commits of one role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every one of three in turn: cut before the server hears of it, cut before its
    /// answer comes back, passed on. Connections of other roles are never cut.
    Cut,
    /// The first is passed on only when the test says so, whoever still waits for it.
    Hold,
    /// Before the first the database is gone for everybody, until it was asked for
    /// often enough that each part of a runner has noticed.
    Outage,
}

/// Connections refused before an outage ends: two seconds or three of them.
const OUTAGE: usize = 15;

/// Passes connections on, and has a fault.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    role: String,
    fault: Fault,
    n_commits: AtomicUsize,
    n_refused: AtomicUsize,
    go: Notify,
    is_down: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on loopback for a server whose socket is in this directory.
    pub(crate) async fn start(socket_dir: PathBuf, role: String, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            role,
            fault,
            n_commits: AtomicUsize::new(0),
            n_refused: AtomicUsize::new(0),
            go: Notify::new(),
            is_down: watch::Sender::new(false),
        });
        let passing = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *passing.is_down.borrow() {
                    let n_refused = 1 + passing.n_refused.fetch_add(1, SeqCst);
                    passing.is_down.send_replace(n_refused < OUTAGE);
                    continue;
                }
                let server = socket_dir.join(".s.PGSQL.5432");
                let shared = Arc::clone(&passing);
                tokio::spawn(async move {
                    let server = UnixStream::connect(server)
                        .await
                        .expect("the server is there");
                    let mut is_down = shared.is_down.subscribe();
                    tokio::select! {
                        // Ends with either side; what it returns tells nobody anything.
                        _ = pass(client, server, &shared) => {}
                        _ = is_down.wait_for(|down| *down) => {}
                    }
                });
            }
        });
        Proxy { port, shared }
    }

    /// Passes on the commit that is held.
    pub(crate) fn let_go(&self) {
        self.shared.go.notify_one();
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
        self.shared.n_commits.load(SeqCst)
    }
}

async fn pass(client: TcpStream, server: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut bytes = vec![0; 64 << 10];
    let mut is_theirs = false;
    let mut answers = tokio::task::JoinSet::new();
    answers.spawn(async move { copy(&mut from_server, &mut to_client).await });
    loop {
        let n = from_client.read(&mut bytes).await?;
        if n == 0 {
            return Ok(());
        }
        let sent = &bytes[..n];
        is_theirs |= holds(sent, format!("user\0{}\0", shared.role).as_bytes());
        if is_theirs && shared.fault == Fault::Outage && holds(sent, BEFORE_COMMIT) {
            if shared.n_commits.fetch_add(1, SeqCst) == 0 {
                shared.is_down.send_replace(true);
                return std::future::pending().await;
            }
        } else if is_theirs && shared.fault != Fault::Outage && holds(sent, COMMIT) {
            match (shared.fault, shared.n_commits.fetch_add(1, SeqCst)) {
                (Fault::Cut, n) if n % 3 == 0 => return Ok(()),
                (Fault::Cut, n) if n % 3 == 1 => {
                    // Nobody carries the answer any more; then the server hears it.
                    answers.shutdown().await;
                    to_server.write_all(sent).await?;
                    to_server.shutdown().await?;
                    return Ok(());
                }
                (Fault::Hold, 0) => shared.go.notified().await,
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
