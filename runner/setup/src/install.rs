//! Installs system packages, without prompting.

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};

use super::Say;
use super::postgres::effective_uid;

/// Whether installing is forbidden: `PGTQ_NO_INSTALL` is set, not empty and not `0`.
pub(super) fn forbidden() -> bool {
    env::var_os("PGTQ_NO_INSTALL").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Installs Debian packages with apt-get. Fails at once if installing is forbidden,
/// the user is not root, or there is no apt-get.
pub(super) fn system_packages(packages: &[&str], say: Say<'_>) -> Result<(), String> {
    if forbidden() {
        return Err("PGTQ_NO_INSTALL is set".to_owned());
    }
    if effective_uid() != 0 {
        return Err("only root can install packages".to_owned());
    }
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        return Err("this system has no apt-get".to_owned());
    }
    // Always updated: a new image has no package lists, and old lists refer to deleted
    // files.
    say("updating package lists with apt-get update");
    apt_get(&["update"])?;
    say(&format!("installing {} with apt-get", packages.join(" ")));
    apt_get(&install_arguments(packages))
}

fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    arguments
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut child = Command::new("/usr/bin/apt-get")
        .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Prevents the packages from starting services: pgtq starts its own server.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("cannot run apt-get: {why}"))?;
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut errors);
    }
    let status = child.wait().map_err(|why| why.to_string())?;
    if status.success() {
        return Ok(());
    }
    let reason = errors.lines().find(|line| line.starts_with("E:"));
    let reason = reason.or_else(|| errors.lines().last()).unwrap_or("");
    Err(format!("apt-get {}: {reason}", arguments[0]))
}
