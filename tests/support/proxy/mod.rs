//! A way to Postgres that breaks at the worst moment.
//!
//! It understands the protocol as far as that takes: which statement a connection
//! executes, and when the server is ready with it. So it can cut a connection
//! before the server has heard of a statement, or when the statement has taken
//! effect and its answer is still on its way. It can also be a black hole, which
//! takes connections and passes nothing, and change statements under way, which
//! shows whether a test would notice a bug. Does not: encrypt.

mod frame;
mod pass;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub use rule::{Fate, Rule};

/// A statement that did not simply pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its text.
    pub text: String,
    /// What happened to it.
    pub fate: Fate,
}

/// A proxy on loopback. Ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _end: oneshot::Sender<()>,
}

/// What all connections look at.
#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    book: Mutex<Book>,
    gate: watch::Sender<Gate>,
}

#[derive(Debug, Default)]
struct Book {
    rules: Vec<Rule>,
    rewrites: Vec<(String, String)>,
    hits: Vec<Hit>,
}

/// Who may pass.
#[derive(Debug, Default)]
struct Gate {
    hole: bool,
    held: HashSet<u64>,
    /// Connections below this number are cut.
    cut_below: u64,
    next: u64,
    /// So many connections more are closed as soon as they come.
    to_refuse: usize,
}

impl Proxy {
    /// Listens for a server whose socket is in this directory. The server may go
    /// and come back. Works in a thread of its own.
    pub fn start(socket_dir: impl Into<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            socket: socket_dir.into().join(".s.PGSQL.5432"),
            book: Mutex::default(),
            gate: watch::channel(Gate::default()).0,
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener
            .set_nonblocking(true)
            .expect("a socket can do that");
        let port = listener.local_addr().expect("it is bound").port();
        let (end, ended) = oneshot::channel::<()>();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a runtime runs");
                tokio::select! {
                    () = accept(&listener, &theirs) => {}
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

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database behind it, for the user `pgtq`.
    pub fn url(&self, database: &str) -> String {
        self.url_as("pgtq", database)
    }

    /// The address of a database behind it.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let port = self.port;
        format!("postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Adds a rule. The first rule that is about a statement decides.
    pub fn rule(&self, rule: Rule) {
        self.shared.book().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn no_rules(&self) {
        self.shared.book().rules.clear();
    }

    /// From now on statements say `to` where they said `from`.
    pub fn rewrite(&self, from: &str, to: &str) {
        let change = (from.to_owned(), to.to_owned());
        self.shared.book().rewrites.push(change);
    }

    /// The statements that did not simply pass, so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.shared.book().hits.clone()
    }

    /// How many statements with this text had this fate.
    pub fn n_hits(&self, text: &str, fate: Fate) -> usize {
        let book = self.shared.book();
        let mut hits = book.hits.iter();
        let is_one = |hit: &&Hit| hit.fate == fate && hit.text.contains(text);
        hits.by_ref().filter(is_one).count()
    }

    /// A black hole from now on, or no longer. What was sent meanwhile passes then.
    pub fn set_hole(&self, hole: bool) {
        self.shared.gate.send_modify(|gate| gate.hole = hole);
    }

    /// Lets go what was [`Fate::Held`].
    pub fn release(&self) {
        self.shared.gate.send_modify(|gate| gate.held.clear());
    }

    /// The server seems gone: cuts all connections, and refuses the next `n_refused`.
    pub fn go_down(&self, n_refused: usize) {
        self.shared
            .gate
            .send_modify(|gate| gate.to_refuse = n_refused);
        self.cut();
    }

    /// Cuts all connections that there are; how many there had ever been.
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
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to this statement of this user.
    fn judge(&self, user: &str, text: &str) -> Fate {
        let mut book = self.book();
        let mut rules = book.rules.iter_mut();
        let fate = rules.find_map(|rule| rule.judge(user, text));
        let fate = fate.unwrap_or(Fate::Passes);
        if fate != Fate::Passes {
            let text = text.to_owned();
            book.hits.push(Hit { text, fate });
        }
        fate
    }

    /// Waits until this connection may pass something.
    async fn may_pass(&self, connection: u64) {
        let mut gate = self.gate.subscribe();
        let open = gate.wait_for(|gate| !gate.hole && !gate.held.contains(&connection));
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
                // Ends with either side; what it returns tells nobody anything.
                _ = pass::serve(&shared, number, client) => {}
                () = shared.is_cut(number) => {}
            }
        });
    }
}
