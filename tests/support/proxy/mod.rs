//! A proxy to Postgres for fault injection.
//!
//! It parses enough of the protocol to know which statement a connection executes, and
//! when the server is ready again. It can cut a connection before the server receives a
//! statement, or after the statement has taken effect and before the response reaches the
//! client. It can also be a black hole, which accepts connections and forwards nothing,
//! and it can rewrite statements, to check that a test would detect a bug. It does not
//! support encryption.

mod connection;
mod frame;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub use rule::{Fault, Rule};

/// A statement with an injected fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The text of the statement.
    pub text: String,
    /// The fault.
    pub fault: Fault,
}

/// A proxy on loopback. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _end: oneshot::Sender<()>,
}

/// The state shared by all connections.
#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    state: Mutex<State>,
    gate: watch::Sender<Gate>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    rewrites: Vec<(String, String)>,
    hits: Vec<Hit>,
}

/// Which connections may forward messages.
#[derive(Debug, Default)]
struct Gate {
    black_hole: bool,
    held: HashSet<u64>,
    /// Connections with a lower number are cut.
    cut_below: u64,
    next: u64,
    /// How many further connections to close at once.
    to_refuse: usize,
}

impl Proxy {
    /// Starts a proxy for the server with its socket in this directory. The server may
    /// restart. Runs on a separate thread.
    pub fn start(socket_dir: impl Into<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            socket: socket_dir.into().join(".s.PGSQL.5432"),
            state: Mutex::default(),
            gate: watch::channel(Gate::default()).0,
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener
            .set_nonblocking(true)
            .expect("sockets support nonblocking mode");
        let port = listener.local_addr().expect("the socket is bound").port();
        let (end, ended) = oneshot::channel::<()>();
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a runtime runs");
                tokio::select! {
                    () = accept(&listener, &state) => {}
                    _ = ended => {}
                }
            });
        });
        Proxy {
            port,
            shared,
            _end: end,
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database through the proxy, for the user `pgtq`.
    pub fn url(&self, database: &str) -> String {
        self.url_as("pgtq", database)
    }

    /// The URL of a database through the proxy.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let port = self.port;
        format!("postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Adds a rule. The first matching rule applies to a statement.
    pub fn rule(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.shared.state().rules.clear();
    }

    /// Replaces `from` by `to` in all further statements.
    pub fn rewrite(&self, from: &str, to: &str) {
        let change = (from.to_owned(), to.to_owned());
        self.shared.state().rewrites.push(change);
    }

    /// The statements with an injected fault so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.shared.state().hits.clone()
    }

    /// The number of statements that contain `text` and had this fault.
    pub fn n_hits(&self, text: &str, fault: Fault) -> usize {
        let state = self.shared.state();
        let mut hits = state.hits.iter();
        let matches = |hit: &&Hit| hit.fault == fault && hit.text.contains(text);
        hits.by_ref().filter(matches).count()
    }

    /// Starts or stops being a black hole. When it stops, messages sent in between are
    /// forwarded.
    pub fn set_black_hole(&self, black_hole: bool) {
        self.shared
            .gate
            .send_modify(|gate| gate.black_hole = black_hole);
    }

    /// Releases the connections with [`Fault::Hold`].
    pub fn release(&self) {
        self.shared.gate.send_modify(|gate| gate.held.clear());
    }

    /// Simulates a server outage: cuts all connections and refuses the next `n_refused`.
    pub fn go_down(&self, n_refused: usize) {
        self.shared
            .gate
            .send_modify(|gate| gate.to_refuse = n_refused);
        self.cut();
    }

    /// Cuts all connections. Returns the number of connections since the start.
    pub fn cut(&self) -> u64 {
        let mut n_connections = 0;
        self.shared.gate.send_modify(|gate| {
            gate.cut_below = gate.next;
            n_connections = gate.next;
        });
        n_connections
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault for a statement of this user. Records it.
    fn fault_for(&self, user: &str, text: &str) -> Fault {
        let mut state = self.state();
        let mut rules = state.rules.iter_mut();
        let fault = rules.find_map(|rule| rule.fault_for(user, text));
        let fault = fault.unwrap_or(Fault::None);
        if fault != Fault::None {
            let text = text.to_owned();
            state.hits.push(Hit { text, fault });
        }
        fault
    }

    /// Waits until this connection may forward messages.
    async fn may_forward(&self, connection: u64) {
        let mut gate = self.gate.subscribe();
        let open = gate.wait_for(|gate| !gate.black_hole && !gate.held.contains(&connection));
        // The sender lives in `self`.
        let _ = open.await;
    }

    /// Waits until this connection is cut.
    async fn is_cut(&self, connection: u64) {
        let mut gate = self.gate.subscribe();
        let _ = gate.wait_for(|gate| connection < gate.cut_below).await;
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut number = None;
        shared.gate.send_modify(|gate| {
            if let Some(to_refuse) = gate.to_refuse.checked_sub(1) {
                gate.to_refuse = to_refuse;
                return;
            }
            number = Some(gate.next);
            gate.next += 1;
        });
        let Some(number) = number else { continue };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            tokio::select! {
                // Ends when either side closes; errors are expected.
                _ = connection::serve(&shared, number, client) => {}
                () = shared.is_cut(number) => {}
            }
        });
    }
}
