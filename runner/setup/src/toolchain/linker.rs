//! Finding the programs that link a component.
//!
//! Two are needed: `wasm-component-ld`, which wraps a linked module into a
//! component, and a `wasm-ld` for it to call. rustup ships both with every
//! toolchain. Debian ships the first in `rust-web-llvm` and the second in the
//! `lld` package of the same LLVM.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The two programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linker {
    pub(super) component_ld: PathBuf,
    pub(super) wasm_ld: PathBuf,
}

/// What is missing of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) component_ld: bool,
    pub(super) wasm_ld: bool,
}

impl Linker {
    /// Looks in the compiler's own `sysroot`, in rustup's toolchains, in LLVM's
    /// directories and on `PATH`.
    pub(super) fn find(sysroot: &Path) -> Result<Self, Missing> {
        let mut tool_dirs = tool_dirs(sysroot);
        for toolchain in subdirectories(&rustup_home().join("toolchains")) {
            tool_dirs.extend(self::tool_dirs(&toolchain));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path: Vec<PathBuf> = env::split_paths(&path).collect();

        let component_ld = tool_dirs
            .iter()
            .chain(&on_path)
            .map(|dir| dir.join("wasm-component-ld"))
            .find(|program| runs(program));
        let wasm_ld = tool_dirs
            .iter()
            .map(|dir| dir.join("gcc-ld/wasm-ld"))
            .chain(llvm_dirs().iter().map(|dir| dir.join("bin/wasm-ld")))
            .chain(on_path.iter().map(|dir| dir.join("wasm-ld")))
            .find(|program| runs(program));
        match (component_ld, wasm_ld) {
            (Some(component_ld), Some(wasm_ld)) => Ok(Linker {
                component_ld,
                wasm_ld,
            }),
            (component_ld, wasm_ld) => Err(Missing {
                component_ld: component_ld.is_none(),
                wasm_ld: wasm_ld.is_none(),
            }),
        }
    }
}

/// The Debian package with the linker that fits the system's compiler:
/// `rust-lld` is a link to `lld-22`, say, which is also the package's name.
pub(super) fn debian_lld_package() -> String {
    let link = fs::read_link("/usr/bin/rust-lld").ok();
    link.as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .filter(|name| name.starts_with("lld-"))
        .unwrap_or("lld")
        .to_owned()
}

/// `lib/rustlib/<host>/bin` of a toolchain, whatever the host.
fn tool_dirs(toolchain: &Path) -> Vec<PathBuf> {
    let hosts = subdirectories(&toolchain.join("lib/rustlib"));
    let bins = hosts.into_iter().map(|host| host.join("bin"));
    bins.filter(|bin| bin.is_dir()).collect()
}

fn rustup_home() -> PathBuf {
    if let Some(home) = env::var_os("RUSTUP_HOME") {
        return PathBuf::from(home);
    }
    let home = env::var_os("HOME").unwrap_or_default();
    Path::new(&home).join(".rustup")
}

/// `/usr/lib/llvm-<n>`, newest first: an older linker cannot read newer objects.
fn llvm_dirs() -> Vec<PathBuf> {
    let version = |dir: &PathBuf| -> Option<u32> {
        dir.file_name()?
            .to_str()?
            .strip_prefix("llvm-")?
            .parse()
            .ok()
    };
    let mut dirs = subdirectories(Path::new("/usr/lib"));
    dirs.retain(|dir| version(dir).is_some());
    dirs.sort_by_key(|dir| std::cmp::Reverse(version(dir)));
    dirs
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = dir.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

/// A wrapper whose real program is missing exists, but does not run.
fn runs(program: &Path) -> bool {
    program.is_file()
        && Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}
