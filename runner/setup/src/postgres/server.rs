//! One private server, from `initdb` to its end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::error::SqlState;

use super::account::Account;
use super::client::{self, SOCKET, StatementError, quoted};
use super::launch::{initdb, launch};
use super::postmaster::Postmaster;
use super::temporary::{self, Temporary};
use super::{NoPostgres, Programs};
use crate::Say;

/// How long one statement may take; copying a template takes 50 ms.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(60);
/// A fast shutdown writes a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// A path longer than this leaves no room for a socket's name (107 bytes in all).
const LONGEST_SOCKET_DIR: usize = 80;

/// Bytes that stand as `%xx` in a URL: all but letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How a private server is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the data lives.
    pub data: Data,
    /// Whether commits survive a crash of the machine (fsync). Off is for tests.
    pub durable: bool,
    /// More settings, given to the server as `-c name=value`.
    pub settings: Vec<(String, String)>,
}

/// Where the data of a private server lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In a temporary directory that is removed when the server stops.
    Ephemeral,
    /// In this directory, made when it is missing; a server that already runs
    /// there is used and left running.
    Keep(PathBuf),
}

/// A private server that could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The programs are missing.
    #[error(transparent)]
    Missing(#[from] NoPostgres),
    /// The directory cannot be used; another one can.
    #[error("cannot use {} for a private Postgres: {why}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why not, and what to do instead.
        why: String,
    },
    /// `initdb` or `postgres` failed.
    #[error("the private Postgres failed: {what}\n{words}")]
    Failed {
        /// Which step failed.
        what: String,
        /// The last lines of the program's output.
        words: String,
    },
    /// The running server rejected a statement.
    #[error("cannot {what}: {message}")]
    Refused {
        /// The operation.
        what: String,
        /// The server's error.
        message: String,
    },
    /// An error of the operating system.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation.
        what: String,
        /// Its error.
        source: io::Error,
    },
}

/// A running private server. Dropping it stops the server, unless it was running
/// before; so does the end of this process, whatever ends it.
#[derive(Debug)]
pub struct PrivatePostgres {
    /// `None` when the server is somebody else's.
    postmaster: Option<Postmaster>,
    socket_dir: PathBuf,
    durable: bool,
    /// Removed after the server has ended, so it is declared last.
    _temporary: Option<Temporary>,
}

impl Options {
    /// A server for one demonstration or test run: temporary, not durable.
    pub fn ephemeral() -> Self {
        Options {
            data: Data::Ephemeral,
            durable: false,
            settings: Vec::new(),
        }
    }

    fn is_of_standby(&self) -> bool {
        matches!(&self.data, Data::Keep(dir) if dir.join("data/standby.signal").exists())
    }

    /// A durable server whose data stays in `dir`. A base backup in `dir/data` with
    /// a `standby.signal` is started as the standby that it is.
    pub fn keep(dir: impl Into<PathBuf>) -> Self {
        Options {
            data: Data::Keep(dir.into()),
            durable: true,
            settings: Vec::new(),
        }
    }
}

impl PrivatePostgres {
    /// Finds (or installs) the programs and starts a server with a database `pgtq`.
    /// Blocks for about a second, or until packages are installed.
    pub fn start(options: &Options, say: Say<'_>) -> Result<Self, PostgresError> {
        let programs = Programs::ensure(say)?;
        let account = Account::choose().map_err(|why| PostgresError::Failed {
            what: "there is no account to run it as".to_owned(),
            words: why,
        })?;
        temporary::reap(account);
        let server = match &options.data {
            Data::Ephemeral => Self::start_ephemeral(&programs, account, options)?,
            Data::Keep(dir) => Self::start_kept(&programs, account, dir, options)?,
        };
        // A standby has the databases of its primary, and takes no statement.
        if !options.is_of_standby() {
            server.create_database("pgtq", None)?;
        }
        Ok(server)
    }

    /// The URL of the database `pgtq`, for processes of this user (and of root).
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

    /// The directory of the server's socket (and of its data, when ephemeral).
    pub fn dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The process id of the server; `None` when it was running before.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// Makes a database, as a copy of `template` when one is named, and returns its
    /// URL. A database that exists is left as it is. Nobody may be connected to the
    /// template meanwhile. Blocks for about 50 ms.
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

    /// Stops the server and waits for its end; removes ephemeral data. A server that
    /// was running before is left alone.
    pub fn stop(mut self) -> Result<(), PostgresError> {
        self.shut_down()
    }

    fn run(&self, statement: &str) -> Result<(), StatementError> {
        client::run(&self.socket_dir, "postgres", statement, STATEMENT_PATIENCE)
    }

    fn start_ephemeral(
        programs: &Programs,
        account: Account,
        options: &Options,
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
        account: Account,
        dir: &Path,
        options: &Options,
    ) -> Result<Self, PostgresError> {
        if let Some(by) = account.barred_by(dir) {
            return Err(PostgresError::Directory {
                dir: dir.to_owned(),
                why: format!(
                    "we are root, so postgres runs as another user, who cannot pass through {}; \
                     name a directory under /var/lib or /tmp",
                    by.display()
                ),
            });
        }
        fs::create_dir_all(dir).map_err(system(&format!("create {}", dir.display())))?;
        // Two starts in one directory: the second waits here and then finds the
        // server of the first.
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
                        "its data is of postgres {version}, the programs found are {}; name the \
                         fitting ones with PGTQ_PG_BIN, or delete the directory to start afresh",
                        programs.version
                    ),
                });
            }
        }
        let (socket_dir, temporary) = if dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
            (dir.to_owned(), None)
        } else {
            let made = Temporary::create(account).map_err(system("create a socket directory"))?;
            (made.path().to_owned(), Some(made))
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
        // What is thrown away next needs no checkpoint.
        if self.durable {
            postmaster.signal(libc::SIGINT);
            if postmaster.wait(STOP_PATIENCE) {
                return Ok(());
            }
        }
        postmaster.signal(libc::SIGQUIT);
        if postmaster.wait(STOP_PATIENCE) {
            return Ok(());
        }
        postmaster.signal(libc::SIGKILL);
        postmaster.wait(STOP_PATIENCE);
        Err(PostgresError::Failed {
            what: "it did not stop on request and was killed".to_owned(),
            words: String::new(),
        })
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

/// The socket directory of the server that runs on `data`, if one does.
fn socket_of_running(data: &Path) -> Option<PathBuf> {
    // Line 5 of the pid file; the file may be left over, so it must answer too.
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let socket_dir = PathBuf::from(text.lines().nth(4)?.trim());
    socket_dir.join(SOCKET).exists().then_some(())?;
    client::answers(&socket_dir, "postgres", Duration::from_secs(5)).then_some(socket_dir)
}

/// The major version that made `data`; `None` when there is no data yet.
fn data_version(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("PG_VERSION")).ok()?;
    Some(text.trim().to_owned())
}

pub(super) fn system(what: &str) -> impl FnOnce(io::Error) -> PostgresError + '_ {
    move |source| PostgresError::System {
        what: what.to_owned(),
        source,
    }
}
