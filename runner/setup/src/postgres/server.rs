//! One private server, from `initdb` to shutdown.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::error::SqlState;

use super::account::ServerAccount;
use super::client::{self, SOCKET, StatementError, quoted};
use super::error::{PostgresError, system};
use super::launch::{initdb, launch};
use super::options::{Data, ServerOptions};
use super::postmaster::Postmaster;
use super::programs::Programs;
use super::temporary::{self, Temporary};
use crate::Say;

/// The timeout of one statement. Copying a template takes 50 ms.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The timeout of a fast shutdown, which writes a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest directory path for a socket. The limit of the whole path is 107 bytes.
const LONGEST_SOCKET_DIR: usize = 80;

/// Bytes to percent-encode in a URL: all except ASCII letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A running private server. The server stops when this is dropped or this process
/// ends, unless the server was already running before.
#[derive(Debug)]
pub struct PrivatePostgres {
    /// `None` if another process started the server.
    postmaster: Option<Postmaster>,
    socket_dir: PathBuf,
    durable: bool,
    /// Declared last, so that it is dropped after the server has stopped.
    _temporary: Option<Temporary>,
}

impl PrivatePostgres {
    /// Finds or installs the programs, and starts a server with a database `pgtq`.
    /// Takes about a second, or as long as the installation.
    pub fn start(options: &ServerOptions, say: Say<'_>) -> Result<Self, PostgresError> {
        let programs = Programs::ensure(say)?;
        let account = ServerAccount::choose().map_err(|why| PostgresError::Failed {
            what: "no system account for it".to_owned(),
            output: why,
        })?;
        temporary::reap(account);
        let server = match &options.data {
            Data::Ephemeral => Self::start_ephemeral(&programs, account, options)?,
            Data::Keep(dir) => Self::start_kept(&programs, account, dir, options)?,
        };
        // A standby has the databases of its primary, and is read-only.
        if !options.is_standby() {
            server.create_database("pgtq", None)?;
        }
        Ok(server)
    }

    /// The URL of the database `pgtq`, for processes of this user and of root.
    pub fn url(&self) -> String {
        self.url_of("pgtq")
    }

    /// The URL of a database of this server.
    pub fn url_of(&self, database: &str) -> String {
        let host = self.socket_dir.to_string_lossy();
        let host = utf8_percent_encode(&host, ESCAPED);
        let database = utf8_percent_encode(database, ESCAPED);
        format!("postgresql:///{database}?host={host}&user=pgtq")
    }

    /// The directory of the server's socket, and of its data if ephemeral.
    pub fn dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The process id of the server; `None` if it was already running.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// Creates a database, as a copy of `template` if given, and returns its URL. Does
    /// nothing if the database exists. There must be no other connections to the
    /// template. Takes about 50 ms.
    pub fn create_database(
        &self,
        name: &str,
        template: Option<&str>,
    ) -> Result<String, PostgresError> {
        let template = template.unwrap_or("template0");
        let statement = format!(
            "CREATE DATABASE {} TEMPLATE {}",
            quoted(name),
            quoted(template)
        );
        match self.run(&statement) {
            Err(StatementError::Rejected(why)) if *why.code() == SqlState::DUPLICATE_DATABASE => {}
            Err(error) => return Err(error.during(format!("create database `{name}`"))),
            Ok(()) => {}
        }
        Ok(self.url_of(name))
    }

    /// Drops a database and disconnects its clients.
    pub fn drop_database(&self, name: &str) -> Result<(), PostgresError> {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
        self.run(&statement)
            .map_err(|error| error.during(format!("drop database `{name}`")))
    }

    /// Stops the server, waits for its exit, and removes ephemeral data. Does nothing
    /// to a server that was already running.
    pub fn stop(mut self) -> Result<(), PostgresError> {
        self.shut_down()
    }

    fn run(&self, statement: &str) -> Result<(), StatementError> {
        client::run(&self.socket_dir, "postgres", statement, STATEMENT_TIMEOUT)
    }

    fn start_ephemeral(
        programs: &Programs,
        account: ServerAccount,
        options: &ServerOptions,
    ) -> Result<Self, PostgresError> {
        let temporary =
            Temporary::create(account).map_err(system("create a temporary directory"))?;
        let data = temporary.path().join("data");
        initdb(programs, account, temporary.path(), &data, options.durable)?;
        let socket_dir = temporary.path().to_owned();
        let postmaster = launch(programs, account, &data, &socket_dir, options)?;
        Ok(PrivatePostgres {
            postmaster: Some(postmaster),
            socket_dir,
            durable: options.durable,
            _temporary: Some(temporary),
        })
    }

    fn start_kept(
        programs: &Programs,
        account: ServerAccount,
        dir: &Path,
        options: &ServerOptions,
    ) -> Result<Self, PostgresError> {
        if let Some(ancestor) = account.blocked_by(dir) {
            return Err(PostgresError::Directory {
                dir: dir.to_owned(),
                why: format!(
                    "pgtq runs as root, so Postgres runs as another user, who has no access to {}; \
                     use a directory in /var/lib or /tmp",
                    ancestor.display()
                ),
            });
        }
        fs::create_dir_all(dir).map_err(system(&format!("create {}", dir.display())))?;
        // A concurrent start in the same directory waits here, and then finds the
        // running server.
        let lock = File::create(dir.join("start.lock")).map_err(system("lock the directory"))?;
        account
            .give(dir)
            .map_err(system("change the owner of the directory"))?;
        lock.lock().map_err(system("lock the directory"))?;

        let data = dir.join("data");
        if let Some(socket_dir) = socket_of_running(&data) {
            return Ok(PrivatePostgres {
                postmaster: None,
                socket_dir,
                durable: true,
                _temporary: None,
            });
        }
        match data_version(&data) {
            None => initdb(programs, account, dir, &data, options.durable)?,
            Some(version) if programs.version.starts_with(&version) => {}
            Some(version) => {
                return Err(PostgresError::Directory {
                    dir: dir.to_owned(),
                    why: format!(
                        "its data is of Postgres {version}, the programs found are {}; set \
                         PGTQ_PG_BIN to the programs of that version, or delete the directory",
                        programs.version
                    ),
                });
            }
        }
        let (socket_dir, temporary) = if dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
            (dir.to_owned(), None)
        } else {
            let temporary =
                Temporary::create(account).map_err(system("create a socket directory"))?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let postmaster = launch(programs, account, &data, &socket_dir, options)?;
        Ok(PrivatePostgres {
            postmaster: Some(postmaster),
            socket_dir,
            durable: options.durable,
            _temporary: temporary,
        })
    }

    fn shut_down(&mut self) -> Result<(), PostgresError> {
        let Some(postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        // Ephemeral data needs no checkpoint.
        if self.durable {
            postmaster.signal(libc::SIGINT);
            if postmaster.wait(STOP_TIMEOUT) {
                return Ok(());
            }
        }
        postmaster.signal(libc::SIGQUIT);
        if postmaster.wait(STOP_TIMEOUT) {
            return Ok(());
        }
        postmaster.signal(libc::SIGKILL);
        postmaster.wait(STOP_TIMEOUT);
        Err(PostgresError::Failed {
            what: "it did not stop in time and was killed".to_owned(),
            output: String::new(),
        })
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

/// The socket directory of a server that runs on `data`; `None` if none does.
fn socket_of_running(data: &Path) -> Option<PathBuf> {
    // Line 5 of the pid file. The file may be stale, so the server must accept a
    // connection.
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let socket_dir = PathBuf::from(text.lines().nth(4)?.trim());
    socket_dir.join(SOCKET).exists().then_some(())?;
    client::is_ready(&socket_dir, "postgres", Duration::from_secs(5)).then_some(socket_dir)
}

/// The major version of `data`; `None` if there is no data.
fn data_version(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("PG_VERSION")).ok()?;
    Some(text.trim().to_owned())
}
