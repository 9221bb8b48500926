//! What a run consists of: a durable server, runners behind a proxy each, plugins.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgtq_setup::postgres::{Options, PrivatePostgres};
use pgtq_tests::{
    Proxy, Runner, RunnerOptions, Sql, cli, give_rows, hello_version, plugin_dir, wait_until,
};

/// The role of handlers' SQL.
pub(crate) const ROLE: &str = "chaos_role";

/// How a program ends that cannot reach the database.
const UNREACHABLE: i32 = 4;

/// Waits so long: between two looks, or two pushes.
pub(crate) fn pause(milliseconds: u64) {
    let started = Instant::now();
    wait_until("some time has passed", || {
        started.elapsed() >= Duration::from_millis(milliseconds)
    });
}

/// Makes the role and the table of `flaky.rows`.
pub(crate) fn make_role(sql: &Sql, role: &str) {
    sql.rows(&format!("CREATE ROLE {role} LOGIN"));
    give_rows(sql, role);
}

/// Starts a runner whose plugins are compiled once for all runs.
pub(crate) fn start(url: &str, plugins: &Path, role: &str, arguments: &[&str]) -> Runner {
    let file = plugins.join("pgtq.toml");
    let text = format!(
        "[grants.flaky]\nsql = {{ role = '{role}', connections = 4 }}\n\
         [handlers.'flaky.sleep']\ntimeout = '5m'\n"
    );
    // Once: a runner that starts beside this must not read half of it.
    if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
        std::fs::write(&file, text).expect("a configuration is written");
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    // It is these tests that kill runners, not the files that they load.
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

/// A runner and its way to the server.
pub(crate) struct Seat {
    pub(crate) runner: Runner,
    pub(crate) proxy: Proxy,
    name: String,
    metrics: u16,
    /// It stands still, or it is cut off.
    pub(crate) is_away: bool,
}

/// All of it.
pub(crate) struct World {
    data: tempfile::TempDir,
    server: Option<PrivatePostgres>,
    pub(crate) url: String,
    /// Past every proxy.
    pub(crate) sql: Sql,
    pub(crate) plugins: tempfile::TempDir,
    /// The way of who pushes with keys.
    pub(crate) proxy: Proxy,
    pub(crate) seats: Vec<Seat>,
    versions: Vec<PathBuf>,
    /// Endings that runners counted as too late, as far as they could be asked.
    pub(crate) n_stale: u64,
}

impl World {
    /// Three runners, and everything that they need.
    pub(crate) fn new() -> Self {
        let data = tempfile::Builder::new()
            .prefix("pgtq-chaos-")
            .tempdir()
            .expect("a temporary directory is made");
        let server = serve(&data);
        let url = server.url();
        cli(&url, &["migrate"], "").success();
        let sql = Sql::connect(&url);
        make_role(&sql, ROLE);
        let mut world = World {
            proxy: Proxy::start(server.dir()),
            plugins: plugin_dir(&["flaky", "hello"]),
            versions: vec![hello_version("2"), hello_version("3")],
            server: Some(server),
            seats: Vec::new(),
            n_stale: 0,
            data,
            url,
            sql,
        };
        for name in ["ann", "ben", "cat"] {
            let seat = world.seat(name, Proxy::start(world.dir()));
            world.seats.push(seat);
        }
        world
    }

    fn dir(&self) -> &Path {
        self.server.as_ref().expect("it is always replaced").dir()
    }

    fn seat(&self, name: &str, proxy: Proxy) -> Seat {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let metrics = free.expect("a port is free").port();
        let listen = format!("127.0.0.1:{metrics}");
        let arguments = ["-c", "8", "--name", name, "--listen", &listen];
        let url = proxy.url("pgtq");
        Seat {
            runner: start(&url, self.plugins.path(), ROLE, &arguments),
            name: name.to_owned(),
            is_away: false,
            proxy,
            metrics,
        }
    }

    /// Puts a new runner in the place of one that has ended.
    pub(crate) fn refill(&mut self, place: usize) {
        let old = self.seats.remove(place);
        let seat = self.seat(&old.name, old.proxy);
        self.seats.insert(place, seat);
    }

    /// Replaces runners that could not start because the server was away, as whatever
    /// starts runners would. They must have no other reason.
    pub(crate) fn supervise(&mut self) {
        for place in 0..self.seats.len() {
            let runner = &mut self.seats[place].runner;
            if let Some(status) = runner.ended() {
                assert_eq!(status.code(), Some(UNREACHABLE), "{}", runner.stderr());
                self.refill(place);
            }
        }
    }

    /// The ids under which this place's runner is known now.
    pub(crate) fn ids(&self, place: usize) -> Vec<i64> {
        let pid = self.seats[place].runner.pid();
        let rows = self
            .sql
            .rows(&format!("SELECT id FROM pgtq.runners WHERE pid = {pid}"));
        rows.iter().filter_map(|id| id.parse().ok()).collect()
    }

    /// Asks a runner how many of its endings came too late.
    pub(crate) fn note_stale(&mut self, place: usize) {
        let text = metrics(self.seats[place].metrics).unwrap_or_default();
        let mut lines = text.lines();
        let line =
            lines.find_map(|line| line.strip_prefix("pgtq_attempts_total{outcome=\"stale\"} "));
        self.n_stale += line
            .and_then(|n| n.trim().parse::<u64>().ok())
            .unwrap_or_default();
    }

    /// The server ends as by a crash, and comes back.
    pub(crate) fn restart_server(&mut self) {
        let server = self.server.take().expect("it is always replaced");
        let pid = i32::try_from(server.pid().expect("this test started it"));
        // SAFETY: kill takes two numbers, and `server` has not been waited for.
        unsafe { libc::kill(pid.expect("process ids are small"), libc::SIGQUIT) };
        // Waits for its end.
        drop(server);
        self.server = Some(serve(&self.data));
        self.sql = Sql::connect(&self.url);
    }

    /// Another version of `hello` takes the place of the one that is there.
    pub(crate) fn swap(&self, turn: usize) {
        let file = &self.versions[turn % self.versions.len()];
        let there = self.plugins.path().join("hello.wasm");
        let beside = self.plugins.path().join("hello.wasm.tmp");
        std::fs::copy(file, &beside).expect("a plugin is copied");
        std::fs::rename(beside, there).expect("a file is renamed");
    }

    /// A plugin is gone.
    pub(crate) fn remove(&self) {
        // It may be gone already.
        let _ = std::fs::remove_file(self.plugins.path().join("hello.wasm"));
    }
}

/// The server on this data, as it was left.
fn serve(data: &tempfile::TempDir) -> PrivatePostgres {
    PrivatePostgres::start(&Options::keep(data.path()), &|line| eprintln!("{line}"))
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
