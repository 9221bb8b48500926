//! The environment of cargo and rustc.
//!
//! pgtq is often run by cargo (`cargo run`, `cargo test`). The variables of that outer
//! build must not reach the inner cargo, which may be of another toolchain. User settings
//! for the network and registries are passed through.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Prefixes of variables to remove.
const PREFIXES: &[&str] = &[
    "CARGO_BIN_",
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
];

/// Variables to remove.
const NAMES: &[&str] = &[
    "CARGO",
    "CARGO_CRATE_NAME",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_RUSTC_CURRENT_DIR",
    "MAKEFLAGS",
    "MFLAGS",
    "OUT_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// A command to run in `dir`, without the variables of an outer cargo.
pub(super) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_outer) {
            command.env_remove(&name);
        }
    }
    // The outer cargo adds the libraries of its own toolchain.
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        let kept = env::split_paths(&path).filter(|dir| !belongs_to_a_build(dir));
        match env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

fn is_outer(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn belongs_to_a_build(dir: &Path) -> bool {
    dir.components().any(|part| {
        let part = part.as_os_str();
        part == "toolchains" || part == "target"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_an_outer_build_are_removed_and_user_settings_kept() {
        for name in ["CARGO", "CARGO_PKG_NAME", "RUSTFLAGS", "CARGO_TARGET_DIR"] {
            assert!(is_outer(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "RUSTUP_HOME",
        ] {
            assert!(!is_outer(name), "{name}");
        }
        for name in [
            "CARGO_REGISTRIES_MINE_INDEX",
            "CARGO_TERM_COLOR",
            "HELLO_VERSION",
        ] {
            assert!(!is_outer(name), "{name}");
        }
    }
}
