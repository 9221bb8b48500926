//! Finds the toolchain, or adds the missing target to it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::environment;
use super::reproducible::StdSources;
use super::target::TARGET;
use crate::{Say, install, pause};

/// Time limit of `rustup target add`, which downloads 20 MB. Without a network rustup
/// fails immediately; behind a firewall that drops packets it would retry for minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// The cargo and rustc on `PATH`, which can build for `wasm32-wasip2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    pub(super) std: StdSources,
    version: String,
}

/// No toolchain on this machine can build plugins.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no Rust toolchain for {TARGET}: {}", tried.join("; "))]
pub struct NoToolchain {
    /// What was tried, in order, and why it failed.
    pub tried: Vec<String>,
    /// The command that installs one.
    pub fix: String,
}

/// Why the installed toolchain cannot build a plugin.
#[derive(Debug)]
enum ToolchainFault {
    /// rustc does not run.
    NoCompiler(String),
    /// rustc runs, but has no standard library for the target.
    NoTarget(String),
}

impl Toolchain {
    /// Finds a toolchain for crates in `dir`, whose `rust-toolchain.toml` applies.
    /// Installs nothing; takes a few hundred milliseconds.
    pub fn find(dir: &Path) -> Result<Self, NoToolchain> {
        installed(dir).map_err(|unfit| NoToolchain::of(&unfit, None))
    }

    /// Finds the toolchain, or adds the target with rustup, which may take minutes.
    pub fn ensure(dir: &Path, say: Say<'_>) -> Result<Self, NoToolchain> {
        installed(dir).or_else(|unfit| {
            add_rustup_target(dir, say)
                .and_then(|()| installed(dir).map_err(ToolchainFault::into_reason))
                .map_err(|reason| NoToolchain::of(&unfit, Some(reason)))
        })
    }

    /// A description for users: `rustc 1.95.0 with wasm32-wasip2`.
    pub fn description(&self) -> String {
        format!("rustc {} with {TARGET}", self.version)
    }
}

impl NoToolchain {
    fn of(unfit: &ToolchainFault, rustup: Option<String>) -> Self {
        let add = format!("rustup target add {TARGET}");
        let fix = match (has_program("rustup"), unfit) {
            (false, _) => format!("install rustup (https://rustup.rs), then: {add}"),
            (true, ToolchainFault::NoTarget(_)) => add,
            // Without a toolchain `rustup target add` fails as well.
            (true, ToolchainFault::NoCompiler(reason)) => {
                let toolchain = missing_toolchain(reason);
                format!("rustup toolchain install {toolchain} && {add}")
            }
        };
        let (ToolchainFault::NoCompiler(reason) | ToolchainFault::NoTarget(reason)) = unfit;
        NoToolchain {
            tried: [reason.clone()].into_iter().chain(rustup).collect(),
            fix,
        }
    }
}

impl ToolchainFault {
    fn into_reason(self) -> String {
        match self {
            ToolchainFault::NoCompiler(reason) | ToolchainFault::NoTarget(reason) => reason,
        }
    }
}

/// The toolchain that rustup reports as missing, which `rust-toolchain.toml` or
/// `RUSTUP_TOOLCHAIN` can name; `stable` if rustup has no default.
fn missing_toolchain(reason: &str) -> &str {
    let after = reason.split_once("toolchain '").map(|(_, after)| after);
    let name = after.and_then(|after| after.split_once("' is not installed"));
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !name.is_empty() && name.chars().all(is_part)
    };
    match name {
        Some((name, _)) if is_name(name) => name,
        _ => "stable",
    }
}

/// The compiler that cargo uses in `dir`, if it has the library for the target.
fn installed(dir: &Path) -> Result<Toolchain, ToolchainFault> {
    let ask = |arguments: &[&str]| {
        let output = environment::command("rustc", dir)
            .args(arguments)
            .output()
            .map_err(|why| ToolchainFault::NoCompiler(format!("cannot run rustc: {why}")))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let first = stderr.lines().next().unwrap_or("it failed");
            return Err(ToolchainFault::NoCompiler(format!("rustc: {first}")));
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
        return Err(ToolchainFault::NoTarget(format!(
            "the target {TARGET} is not installed for rustc {version}"
        )));
    }
    Ok(Toolchain {
        std: StdSources::of(&sysroot, &verbose),
        version,
    })
}

/// Adds the target to the toolchain used in `dir`.
fn add_rustup_target(dir: &Path, say: Say<'_>) -> Result<(), String> {
    if install::forbidden() {
        return Err("rustup target add: disabled by PGTQ_NO_INSTALL".to_owned());
    }
    let mut command = environment::command("rustup", dir);
    command.args(["target", "add", TARGET]);
    command.env("RUSTUP_MAX_RETRIES", "1");
    say(&format!(
        "adding the WebAssembly target: rustup target add {TARGET}"
    ));
    run_within(command, RUSTUP_LIMIT).map_err(|why| format!("rustup target add: {why}"))
}

/// Runs a command and kills it when it takes longer than `limit`. The error is its last
/// error message.
fn run_within(mut command: Command, limit: Duration) -> Result<(), String> {
    // Its messages go to a file: a full pipe would block it.
    let mut messages = tempfile::tempfile().map_err(|why| why.to_string())?;
    let stderr = messages.try_clone().map_err(|why| why.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|why| why.to_string())?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|why| why.to_string())? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("timed out after {} s", limit.as_secs()));
        }
        pause();
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let _ = io::Seek::rewind(&mut messages);
    let _ = io::Read::read_to_string(&mut messages, &mut text);
    let error = text.lines().rev().find(|line| line.starts_with("error"));
    Err(error
        .or(text.lines().last())
        .unwrap_or("it failed")
        .to_owned())
}

fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
