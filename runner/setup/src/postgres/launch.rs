//! Runs `initdb` and `postgres`.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::account::ServerAccount;
use super::client;
use super::error::{PostgresError, system};
use super::options::{Data, ServerOptions};
use super::postmaster::Postmaster;
use super::programs::Programs;
use crate::pause;

/// A start takes 0.1 s. Crash recovery on a busy machine takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a data directory. It is renamed to `data` when it is complete, so that an
/// interrupted start leaves no incomplete directory under that name.
pub(super) fn initdb(
    programs: &Programs,
    account: ServerAccount,
    dir: &Path,
    data: &Path,
    durable: bool,
) -> Result<(), PostgresError> {
    let unfinished = data.with_extension("new");
    let attempt = |locale: &str| -> Result<Output, PostgresError> {
        let _ = fs::remove_dir_all(&unfinished);
        let mut command = account.command(&programs.program("initdb"), dir);
        quiet_environment(&mut command);
        command
            .args(["-U", "pgtq", "--auth=trust", "-E", "UTF8"])
            .arg(format!("--locale={locale}"))
            .arg("-D")
            .arg(&unfinished);
        if !durable {
            command.arg("--no-sync");
        }
        command.output().map_err(system("run initdb"))
    };
    let mut output = attempt("C.UTF-8")?;
    // Older systems have only the locale C, which has the same sort order.
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("locale") {
        output = attempt("C")?;
    }
    if !output.status.success() {
        return Err(PostgresError::Failed {
            what: format!("initdb failed with {}", output.status),
            output: last_lines(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    fs::rename(&unfinished, data).map_err(system("rename the data directory"))
}

/// Starts the server and waits until it accepts connections.
pub(super) fn launch(
    programs: &Programs,
    account: ServerAccount,
    data: &Path,
    socket_dir: &Path,
    options: &ServerOptions,
) -> Result<Postmaster, PostgresError> {
    let log_path = socket_dir.join("postgres.log");
    let log = File::create(&log_path).map_err(system("create the log of postgres"))?;
    // Opened now: an ephemeral directory is removed as soon as its server has ended.
    let reader = File::open(&log_path).map_err(system("read the log of postgres"))?;
    let mut command = account.command(&programs.program("postgres"), socket_dir);
    quiet_environment(&mut command);
    command.arg("-D").arg(data).arg("-k").arg(socket_dir);
    command.args(["-p", "5432", "-c", "listen_addresses="]);
    // Many runners and many parallel tests share one server.
    command.args(["-c", "max_connections=300"]);
    if !options.durable {
        for setting in [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ] {
            command.args(["-c", setting]);
        }
    }
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let sweep = (options.data == Data::Ephemeral).then_some(socket_dir);
    let postmaster =
        Postmaster::spawn(command, log, account, sweep).map_err(system("run postgres"))?;

    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if client::is_ready(socket_dir, "postgres", Duration::from_secs(5)) {
            return Ok(postmaster);
        }
        let exited = postmaster.exit_status();
        if exited.is_some() || Instant::now() > deadline {
            let output = io::read_to_string(reader).unwrap_or_default();
            postmaster.signal(libc::SIGQUIT);
            return Err(PostgresError::Failed {
                what: match exited {
                    Some(status) => format!("postgres exited with {status}"),
                    None => format!("not ready within {} s", START_TIMEOUT.as_secs()),
                },
                output: last_lines(&output),
            });
        }
        pause();
    }
}

/// Removes the caller's `PG*` variables, which are for another server, and sets English
/// messages, because `initdb` looks for one.
fn quiet_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(&name);
        }
    }
    command.env("LC_ALL", "C");
}

/// The last 20 lines of a log.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(20);
    lines[from..].join("\n")
}
