//! Finding the toolchain, and making one of what is there.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::reproducible::StdSources;
use super::{TARGET, environment};
use crate::{Say, install, pause};

/// Adding a target downloads 20 MB. Without a network rustup fails at once; behind
/// a silent firewall it would try for minutes.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(120);

/// A cargo and a compiler that can build for `wasm32-wasip2`: those on `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    pub(super) std: StdSources,
    version: String,
}

/// No toolchain on this machine can build a plugin.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no rust toolchain for {TARGET}: {}", tried.join("; "))]
pub struct NoToolchain {
    /// What was tried, in order, and why it did not do.
    pub tried: Vec<String>,
    /// The line to type to get one.
    pub fix: String,
}

impl Toolchain {
    /// Finds a toolchain for crates in `dir` (whose `rust-toolchain.toml` counts).
    /// Installs nothing; takes a few hundred milliseconds.
    pub fn find(dir: &Path) -> Result<Self, NoToolchain> {
        installed(dir).map_err(|why| NoToolchain::of(vec![why]))
    }

    /// Finds a toolchain, or adds the target with rustup. May take minutes the first
    /// time.
    pub fn ensure(dir: &Path, say: Say<'_>) -> Result<Self, NoToolchain> {
        installed(dir).or_else(|lacks| {
            add_rustup_target(dir, say)
                .and_then(|()| installed(dir))
                .map_err(|why| NoToolchain::of(vec![lacks, why]))
        })
    }

    /// What it is, for people: `rustc 1.95.0 with wasm32-wasip2`.
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

/// The compiler that `dir` would use, if it has the library for the target.
fn installed(dir: &Path) -> Result<Toolchain, String> {
    let ask = |arguments: &[&str]| {
        let output = environment::command("rustc", dir)
            .args(arguments)
            .output()
            .map_err(|why| format!("rustc does not run: {why}"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let first = words.lines().next().unwrap_or("it failed");
            return Err(format!("rustc: {first}"));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
    let verbose = ask(&["-vV"])?;
    let release = verbose
        .lines()
        .find_map(|line| line.strip_prefix("release: "));
    let version = release.unwrap_or("of an unknown version").to_owned();
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

/// Adds the target to the toolchain that `dir` uses.
fn add_rustup_target(dir: &Path, say: Say<'_>) -> Result<(), String> {
    if install::forbidden() {
        return Err("PGTQ_NO_INSTALL forbids rustup target add".to_owned());
    }
    let mut command = environment::command("rustup", dir);
    command.args(["target", "add", TARGET]);
    command.env("RUSTUP_MAX_RETRIES", "1");
    say(&format!("adding the target: rustup target add {TARGET}"));
    run_within(command, RUSTUP_PATIENCE).map_err(|why| format!("rustup target add: {why}"))
}

/// Runs a command and ends it when it takes longer than `patience`. The error is
/// the last thing it said.
fn run_within(mut command: Command, patience: Duration) -> Result<(), String> {
    // A file takes what it says: a pipe that nobody reads could stop it.
    let mut words = tempfile::tempfile().map_err(|why| why.to_string())?;
    let stderr = words.try_clone().map_err(|why| why.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|why| why.to_string())?;
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|why| why.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("no end within {} s", patience.as_secs()));
        }
        pause();
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let _ = io::Seek::rewind(&mut words);
    let _ = io::Read::read_to_string(&mut words, &mut text);
    let said = text.lines().rev().find(|line| line.starts_with("error"));
    Err(said
        .or(text.lines().last())
        .unwrap_or("it failed")
        .to_owned())
}

fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
