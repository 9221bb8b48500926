//! Running `initdb` and `postgres`.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::account::Account;
use super::client;
use super::postmaster::Postmaster;
use super::server::system;
use super::{Data, Options, PostgresError, Programs};
use crate::pause;

/// Starting takes 0.1 s; recovery after a crash, on a busy machine, takes longer.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Makes a data directory. It gets its name when it is complete, so that an
/// interrupted start leaves none that looks usable.
pub(super) fn initdb(
    programs: &Programs,
    account: Account,
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
    // Older systems know only plain C, which sorts the same way.
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("locale") {
        output = attempt("C")?;
    }
    if !output.status.success() {
        return Err(PostgresError::Failed {
            what: format!("initdb failed with {}", output.status),
            words: last_lines(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    fs::rename(&unfinished, data).map_err(system("rename the data directory"))
}

/// Starts the server and waits until it answers.
pub(super) fn launch(
    programs: &Programs,
    account: Account,
    data: &Path,
    socket_dir: &Path,
    options: &Options,
) -> Result<Postmaster, PostgresError> {
    let log_path = socket_dir.join("postgres.log");
    let log = File::create(&log_path).map_err(system("create the log file of Postgres"))?;
    // Opened now: a directory with an owner is swept as soon as its server has ended.
    let said = File::open(&log_path).map_err(system("read the log file of Postgres"))?;
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

    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if client::answers(socket_dir, "postgres", Duration::from_secs(5)) {
            return Ok(postmaster);
        }
        let ended = postmaster.ended();
        if ended.is_some() || Instant::now() > deadline {
            let words = io::read_to_string(said).unwrap_or_default();
            postmaster.signal(libc::SIGQUIT);
            return Err(PostgresError::Failed {
                what: match ended {
                    Some(status) => format!("postgres exited with {status}"),
                    None => format!("no response within {} s", START_PATIENCE.as_secs()),
                },
                words: last_lines(&words),
            });
        }
        pause();
    }
}

/// Settings of the caller's own Postgres are not for this one. English messages:
/// one of them is looked at.
fn quiet_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(&name);
        }
    }
    command.env("LC_ALL", "C");
}

/// What a person needs of a log: its end.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(20);
    lines[from..].join("\n")
}
