//! The system under test: a durable server, runners with a proxy each, plugins.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_tests::{
    Proxy, Runner, RunnerOptions, Sql, cli, create_app_rows, hello_version, plugin_dir, wait_until,
};

/// The role of handler SQL.
pub(crate) const ROLE: &str = "chaos_role";

/// The exit code for an unreachable database.
const UNREACHABLE: i32 = 4;

/// Waits between two samples or pushes.
pub(crate) fn pause(milliseconds: u64) {
    let started = Instant::now();
    wait_until("some time has passed", || {
        started.elapsed() >= Duration::from_millis(milliseconds)
    });
}

/// Creates the role and the table of `flaky.rows`.
pub(crate) fn create_role(sql: &Sql, role: &str) {
    sql.rows(&format!("CREATE ROLE {role} LOGIN"));
    create_app_rows(sql, role);
}

/// Starts a runner. All runs share a cache of compiled plugins.
pub(crate) fn start(url: &str, plugins: &Path, role: &str, arguments: &[&str]) -> Runner {
    let file = plugins.join("pgtq.toml");
    let text = format!(
        "[grants.flaky]\nsql = {{ role = '{role}', connections = 4 }}\n\
         [handlers.'flaky.sleep']\ntimeout = '5m'\n"
    );
    // Written once: a runner that starts at the same time must not read a partial file.
    if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
        std::fs::write(&file, text).expect("a configuration is written");
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    // Removes the records of crashes while loading: the tests kill the runners.
    for note in std::fs::read_dir(cache.join("loads")).into_iter().flatten() {
        let _ = note.map(|note| std::fs::remove_file(note.path()));
    }
    let options = RunnerOptions {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        env: vec![
            ("PGTQ_CONFIG".to_owned(), file.display().to_string()),
            ("PGTQ_CACHE".to_owned(), cache.display().to_string()),
        ],
    };
    Runner::start(url, plugins, &options)
}

/// A runner with its proxy.
pub(crate) struct Node {
    pub(crate) runner: Runner,
    pub(crate) proxy: Proxy,
    name: String,
    metrics: u16,
    /// Stopped or disconnected.
    pub(crate) is_disabled: bool,
}

/// The system under test.
pub(crate) struct Cluster {
    data: tempfile::TempDir,
    server: Option<PrivatePostgres>,
    pub(crate) url: String,
    /// A direct connection.
    pub(crate) sql: Sql,
    pub(crate) plugins: tempfile::TempDir,
    /// The proxy of the pusher with keys.
    pub(crate) proxy: Proxy,
    pub(crate) nodes: Vec<Node>,
    versions: Vec<PathBuf>,
    /// The number of stale outcomes in the metrics of runners, a lower bound.
    pub(crate) n_stale: u64,
}

impl Cluster {
    /// Starts the server and three runners.
    pub(crate) fn new() -> Self {
        let data = tempfile::Builder::new()
            .prefix("pgtq-chaos-")
            .tempdir()
            .expect("a temporary directory is created");
        let server = serve(&data);
        let url = server.url();
        cli(&url, &["migrate"], "").success();
        let sql = Sql::connect(&url);
        create_role(&sql, ROLE);
        let mut cluster = Cluster {
            proxy: Proxy::start(server.dir()),
            plugins: plugin_dir(&["flaky", "hello"]),
            versions: vec![hello_version("2"), hello_version("3")],
            server: Some(server),
            nodes: Vec::new(),
            n_stale: 0,
            data,
            url,
            sql,
        };
        for name in ["ann", "ben", "cat"] {
            let node = cluster.node(name, Proxy::start(cluster.dir()));
            cluster.nodes.push(node);
        }
        cluster
    }

    fn dir(&self) -> &Path {
        self.server
            .as_ref()
            .expect("the server is always replaced")
            .dir()
    }

    fn node(&self, name: &str, proxy: Proxy) -> Node {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let metrics = free.expect("a port is free").port();
        let listen = format!("127.0.0.1:{metrics}");
        let arguments = ["-c", "8", "--name", name, "--listen", &listen];
        let url = proxy.url("pgtq");
        Node {
            runner: start(&url, self.plugins.path(), ROLE, &arguments),
            name: name.to_owned(),
            is_disabled: false,
            proxy,
            metrics,
        }
    }

    /// Replaces a runner that has exited.
    pub(crate) fn refill(&mut self, place: usize) {
        let old = self.nodes.remove(place);
        let node = self.node(&old.name, old.proxy);
        self.nodes.insert(place, node);
    }

    /// Replaces runners that exited because the server was down, as a supervisor would.
    /// Panics at any other exit code.
    pub(crate) fn supervise(&mut self) {
        for place in 0..self.nodes.len() {
            let runner = &mut self.nodes[place].runner;
            if let Some(status) = runner.exited() {
                assert_eq!(status.code(), Some(UNREACHABLE), "{}", runner.stderr());
                self.refill(place);
            }
        }
    }

    /// The ids of this node's runner in the database.
    pub(crate) fn ids(&self, place: usize) -> Vec<i64> {
        let pid = self.nodes[place].runner.pid();
        let rows = self
            .sql
            .rows(&format!("SELECT id FROM pgtq.runners WHERE pid = {pid}"));
        rows.iter().filter_map(|id| id.parse().ok()).collect()
    }

    /// Reads the number of stale outcomes from the metrics of a runner.
    pub(crate) fn note_stale(&mut self, place: usize) {
        let text = metrics(self.nodes[place].metrics).unwrap_or_default();
        let mut lines = text.lines();
        let line =
            lines.find_map(|line| line.strip_prefix("pgtq_attempts_total{outcome=\"stale\"} "));
        self.n_stale += line
            .and_then(|n| n.trim().parse::<u64>().ok())
            .unwrap_or_default();
    }

    /// Crashes and restarts the server.
    pub(crate) fn restart_server(&mut self) {
        let server = self.server.take().expect("the server is always replaced");
        let pid = i32::try_from(server.pid().expect("this test started it"));
        // SAFETY: kill takes two integers, and the server is not reaped yet.
        unsafe { libc::kill(pid.expect("process ids fit"), libc::SIGQUIT) };
        // Waits for its exit.
        drop(server);
        self.server = Some(serve(&self.data));
        self.sql = Sql::connect(&self.url);
    }

    /// Replaces `hello` by another version.
    pub(crate) fn swap(&self, turn: usize) {
        let file = &self.versions[turn % self.versions.len()];
        let there = self.plugins.path().join("hello.wasm");
        let beside = self.plugins.path().join("hello.wasm.tmp");
        std::fs::copy(file, &beside).expect("a plugin is copied");
        std::fs::rename(beside, there).expect("a file is renamed");
    }

    /// Removes a plugin.
    pub(crate) fn remove(&self) {
        // It may already be removed.
        let _ = std::fs::remove_file(self.plugins.path().join("hello.wasm"));
    }
}

/// Starts the server on existing data.
fn serve(data: &tempfile::TempDir) -> PrivatePostgres {
    PrivatePostgres::start(&ServerOptions::keep(data.path()), &|line| {
        eprintln!("{line}");
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

fn metrics(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
