//! Finds the toolchain, or adds the target to it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::reproducible::StdSources;
use super::{TARGET, environment};
use crate::{Say, install, pause};

/// Adding a target downloads 20 MB. Without a network rustup fails at once, but behind a
/// firewall that drops packets it would retry for minutes.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(120);

/// A cargo and rustc on `PATH` that can build for `wasm32-wasip2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    pub(super) std: StdSources,
    version: String,
}

/// No toolchain on this machine can build plugins.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no Rust toolchain for {TARGET}: {}", tried.join("; "))]
pub struct NoToolchain {
    /// What was tried, in order, each with the reason for its failure.
    pub tried: Vec<String>,
    /// The command that installs it.
    pub fix: String,
}

impl Toolchain {
    /// Finds the toolchain for crates in `dir`, where a `rust-toolchain.toml` applies.
    /// Installs nothing. Takes a few hundred milliseconds.
    pub fn find(dir: &Path) -> Result<Self, NoToolchain> {
        installed(dir).map_err(|why| NoToolchain::of(vec![why]))
    }

    /// Finds the toolchain, or adds the target with rustup, which may take minutes.
    pub fn ensure(dir: &Path, say: Say<'_>) -> Result<Self, NoToolchain> {
        installed(dir).or_else(|lacks| {
            add_rustup_target(dir, say)
                .and_then(|()| installed(dir))
                .map_err(|why| NoToolchain::of(vec![lacks, why]))
        })
    }

    /// A description for users: `rustc 1.95.0 with wasm32-wasip2`.
    pub fn description(&self) -> String {
        format!("rustc {} with {TARGET}", self.version)
    }
}

impl NoToolchain {
    fn of(tried: Vec<String>) -> Self {
        let add = format!("rustup target add {TARGET}");
        let fix = match has_program("rustup") {
            true => add,
            false => format!("install rustup (https://rustup.rs), then: {add}"),
        };
        NoToolchain { tried, fix }
    }
}

/// The toolchain used in `dir`, if the target is installed.
fn installed(dir: &Path) -> Result<Toolchain, String> {
    let ask = |arguments: &[&str]| {
        let output = environment::command("rustc", dir)
            .args(arguments)
            .output()
            .map_err(|why| format!("cannot run rustc: {why}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let first = errors.lines().next().unwrap_or("failed");
            return Err(format!("rustc: {first}"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
    let verbose = ask(&["-vV"])?;
    let release = verbose
        .lines()
        .find_map(|line| line.strip_prefix("release: "));
    let version = release.unwrap_or("(unknown version)").to_owned();
    if !sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
    {
        return Err(format!("the target is not installed for rustc {version}"));
    }
    Ok(Toolchain {
        std: StdSources::of(&sysroot, &verbose),
        version,
    })
}

/// Adds the target to the toolchain used in `dir`.
fn add_rustup_target(dir: &Path, say: Say<'_>) -> Result<(), String> {
    if install::forbidden() {
        return Err("rustup target add: PGTQ_NO_INSTALL is set".to_owned());
    }
    let mut command = environment::command("rustup", dir);
    command.args(["target", "add", TARGET]);
    command.env("RUSTUP_MAX_RETRIES", "1");
    say(&format!("adding the target: rustup target add {TARGET}"));
    run_within(command, RUSTUP_TIMEOUT).map_err(|why| format!("rustup target add: {why}"))
}

/// Runs a command and kills it after `timeout`. The error is its last error message.
fn run_within(mut command: Command, timeout: Duration) -> Result<(), String> {
    // A file, because a full pipe could block the command.
    let mut log = tempfile::tempfile().map_err(|why| why.to_string())?;
    let stderr = log.try_clone().map_err(|why| why.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|why| why.to_string())?;
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|why| why.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("timed out after {} s", timeout.as_secs()));
        }
        pause();
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let _ = io::Seek::rewind(&mut log);
    let _ = io::Read::read_to_string(&mut log, &mut text);
    let error = text.lines().rev().find(|line| line.starts_with("error"));
    Err(error.or(text.lines().last()).unwrap_or("failed").to_owned())
}

fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
