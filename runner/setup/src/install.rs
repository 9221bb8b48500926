//! Installing system packages, where that needs no question.

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};

use super::Say;
use super::postgres::effective_uid;

/// Whether this process must not install anything: `PGTQ_NO_INSTALL` is set to
/// anything but `0` or nothing.
pub(super) fn forbidden() -> bool {
    env::var_os("PGTQ_NO_INSTALL").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Installs Debian packages with apt-get. Fails with a short reason, at once where
/// it is forbidden or we are not root on such a system.
pub(super) fn system_packages(packages: &[&str], say: Say<'_>) -> Result<(), String> {
    if forbidden() {
        return Err("disabled by PGTQ_NO_INSTALL".to_owned());
    }
    if effective_uid() != 0 {
        return Err("only root can install packages".to_owned());
    }
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        return Err("this system has no apt-get".to_owned());
    }
    // First, because a fresh image has no package lists, and old lists name
    // compilers that are too old and files that are gone.
    say("updating the package lists with apt-get update");
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
        // Services of the packages are not started: we bring our own server.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("cannot run apt-get: {why}"))?;
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut words);
    }
    let status = child.wait().map_err(|why| why.to_string())?;
    if status.success() {
        return Ok(());
    }
    let reason = words.lines().find(|line| line.starts_with("E:"));
    let reason = reason.or_else(|| words.lines().last()).unwrap_or("");
    Err(format!("apt-get {}: {reason}", arguments[0]))
}
