//! PgBouncer in transaction mode, in front of the tests' Postgres.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{Identity, wait_until};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running pooler. Dropping it stops it.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    child: Child,
    _dir: TempDir,
}

impl Pooler {
    /// Starts a pooler for the server with its socket in `socket_dir`, for these users,
    /// with `n_connections` server connections per user. Returns `None` and prints a
    /// line if pgbouncer is missing and cannot be installed. Blocks.
    pub fn start(socket_dir: &Path, users: &[&str], n_connections: u32) -> Option<Self> {
        Self::start_as(None, socket_dir, users, n_connections)
    }

    /// As [`Pooler::start`], with the certificate `identity`. Clients must use TLS.
    pub fn start_with_tls(
        identity: &Identity,
        socket_dir: &Path,
        users: &[&str],
        n_connections: u32,
    ) -> Option<Self> {
        Self::start_as(Some(identity), socket_dir, users, n_connections)
    }

    fn start_as(
        identity: Option<&Identity>,
        socket_dir: &Path,
        users: &[&str],
        n_connections: u32,
    ) -> Option<Self> {
        if !ensure_installed() {
            eprintln!(
                "SKIPPED: pgbouncer is missing, and only root can install it (apt-get install pgbouncer)"
            );
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("pgtq-pooler-")
            .tempdir()
            .expect("a temporary directory is created");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let list: String = users
            .iter()
            .map(|user| format!("\"{user}\" \"\"\n"))
            .collect();
        let mut settings = format!(
            "[databases]\n* = host={} port=5432\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = {n_connections}\nmax_client_conn = 300\n",
            socket_dir.display(),
            dir.path().join("users").display()
        );
        if let Some(identity) = identity {
            let (certificate, key) = identity.write(dir.path());
            settings.push_str(&format!(
                "client_tls_sslmode = require\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n",
                certificate.display(),
                key.display()
            ));
        }
        for (name, text) in [("users", &list), ("pgbouncer.ini", &settings)] {
            fs::write(dir.path().join(name), text).expect("a file is written");
        }
        // Pgbouncer does not run as root, and only the owner has access to the socket.
        let owner = socket_dir.metadata().expect("the directory exists");
        let files = dir.path().read_dir().expect("the directory exists");
        let files = files.map(|file| file.expect("the directory is readable").path());
        for path in files.chain([dir.path().to_owned()]) {
            chown(path, Some(owner.uid()), Some(owner.gid())).expect("the owner can be changed");
        }
        let mut command = Command::new(PROGRAM);
        command
            .arg("-q")
            .arg(dir.path().join("pgbouncer.ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let child = command.spawn().expect("pgbouncer starts");
        let pooler = Pooler {
            port,
            child,
            _dir: dir,
        };
        wait_until("the pooler accepts connections", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(pooler)
    }

    /// The URL of a database through the pooler, for the user `pgtq`.
    pub fn url(&self, database: &str) -> String {
        self.url_at("127.0.0.1", database, "sslmode=disable")
    }

    /// As [`Pooler::url`], with another host name and parameters.
    pub fn url_at(&self, host: &str, database: &str, parameters: &str) -> String {
        format!(
            "postgresql://pgtq@{host}:{}/{database}?{parameters}",
            self.port
        )
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether pgbouncer is present; installs it if possible.
fn ensure_installed() -> bool {
    let forbidden =
        env::var_os("PGTQ_NO_INSTALL").is_some_and(|value| !value.is_empty() && value != "0");
    if Path::new(PROGRAM).exists() || forbidden || !is_root() {
        return Path::new(PROGRAM).exists();
    }
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", "pgbouncer"],
    ] {
        let _ = Command::new("/usr/bin/apt-get")
            .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Prevents the package from starting its service.
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
    }
    Path::new(PROGRAM).exists()
}

fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
