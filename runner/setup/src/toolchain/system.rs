//! The system's Rust with its sources: what is there, and what packages it lacks.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::environment;
use super::linker::{self, Linker};
use super::reproducible::StdSources;
use crate::places::short_hash;
use crate::{Say, install};

/// The oldest compiler that builds the SDK: its `rust-version`.
const OLDEST_MINOR: u32 = 95;

/// Where packages put wasi-libc.
const LIBC_DIRS: &[&str] = &[
    "/usr/lib/wasm32-wasi",
    "/usr/share/wasi-sysroot/lib/wasm32-wasip2",
    "/usr/share/wasi-sysroot/lib/wasm32-wasi",
    "/opt/wasi-sdk/share/wasi-sysroot/lib/wasm32-wasip2",
];

/// A compiler with all that is needed to build its standard library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SystemRust {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    /// `1.96.0`.
    pub(super) version: String,
    pub(super) linker: Linker,
    pub(super) std: StdSources,
    /// The directory of `libc.a` and `crt1.o`.
    pub(super) libc_dir: PathBuf,
    /// Changes with the compiler and its parts: names what is built with them.
    pub(super) key: String,
}

/// Why there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    /// In words, for a person.
    pub(super) why: Vec<String>,
    /// The Debian packages that bring it.
    pub(super) packages: Vec<String>,
}

impl Lacks {
    fn add(&mut self, why: impl Into<String>, packages: &[&str]) {
        self.why.push(why.into());
        self.packages
            .extend(packages.iter().map(|&name| name.to_owned()));
    }
}

/// Looks for a compiler with its sources, a linker and a C library, in this order.
pub(super) fn find() -> Result<SystemRust, Lacks> {
    let mut lacks = Lacks::default();
    let compiler = compilers()
        .into_iter()
        .filter_map(|rustc| Compiler::examine(&rustc))
        .find(|compiler| compiler.minor >= OLDEST_MINOR && compiler.has_sources());
    let libc_dir = LIBC_DIRS
        .iter()
        .map(PathBuf::from)
        .find(|dir| dir.join("libc.a").is_file());

    if compiler.is_none() {
        lacks.add(
            format!("no system rustc 1.{OLDEST_MINOR} or newer with its sources"),
            &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"],
        );
    }
    if libc_dir.is_none() {
        lacks.add("no C library for wasm (wasi-libc)", &["wasi-libc"]);
    }
    let sysroot = compiler.as_ref().map(|found| found.sysroot.as_path());
    let linker = Linker::find(sysroot.unwrap_or(Path::new("/usr")));
    if let Err(missing) = &linker {
        if missing.component_ld {
            lacks.add("no wasm-component-ld", &["rust-web-llvm"]);
        }
        if missing.wasm_ld {
            lacks.add("no wasm-ld", &[&linker::debian_lld_package()]);
        }
    }
    lacks.packages.sort();
    lacks.packages.dedup();
    match (compiler, libc_dir, linker) {
        (Some(compiler), Some(libc_dir), Ok(linker)) => Ok(SystemRust {
            key: compiler.key(&libc_dir),
            cargo: compiler.cargo(),
            std: StdSources::of(&compiler.sysroot, &compiler.verbose),
            rustc: compiler.rustc,
            version: compiler.version,
            linker,
            libc_dir,
        }),
        _ => Err(lacks),
    }
}

/// Finds one, installing what it lacks where that is allowed.
pub(super) fn ensure(say: Say<'_>) -> Result<SystemRust, Lacks> {
    let mut lacks = match find() {
        Ok(found) => return Ok(found),
        Err(lacks) => lacks,
    };
    // Twice: which linker fits is only known once the compiler is there.
    for _ in 0..2 {
        let packages: Vec<&str> = lacks.packages.iter().map(String::as_str).collect();
        if let Err(why) = install::system_packages(&packages, say) {
            lacks.why.push(why);
            return Err(lacks);
        }
        match find() {
            Ok(found) => return Ok(found),
            Err(still) => lacks = still,
        }
    }
    Err(lacks)
}

/// A compiler and what it says of itself.
#[derive(Debug)]
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
    minor: u32,
    verbose: String,
}

impl Compiler {
    fn examine(rustc: &Path) -> Option<Self> {
        let ask = |arguments: &[&str]| {
            let output = environment::command(rustc, Path::new("/"))
                .args(arguments)
                .output()
                .ok()?;
            output.status.success().then_some(())?;
            String::from_utf8(output.stdout).ok()
        };
        let verbose = ask(&["-vV"])?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
        let (version, minor) = version_of(&verbose)?;
        Some(Compiler {
            rustc: rustc.to_owned(),
            sysroot,
            version,
            minor,
            verbose,
        })
    }

    fn has_sources(&self) -> bool {
        let library = self.sysroot.join("lib/rustlib/src/rust/library");
        library.join("std/Cargo.toml").is_file() && self.cargo().is_file()
    }

    fn cargo(&self) -> PathBuf {
        self.rustc.with_file_name("cargo")
    }

    fn key(&self, libc_dir: &Path) -> String {
        // A patched compiler of the same version is another file.
        let stamp = |path: &Path| {
            let meta = fs::metadata(path).ok();
            let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
            let age = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            format!("{:?} {:?}", meta.map(|meta| meta.len()), age)
        };
        let parts = [
            // How `library` builds it: without paths of this machine.
            "remapped".to_owned(),
            self.verbose.clone(),
            stamp(&self.rustc),
            stamp(&libc_dir.join("libc.a")),
        ];
        format!("{}-{}", self.version, short_hash(&parts.join("\n")))
    }
}

/// Every rustc of this machine that is not rustup's proxy, the system's first.
fn compilers() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [PathBuf::from("/usr/bin")]
        .into_iter()
        .chain(env::split_paths(&path));
    let mut found: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        let rustc = dir.join("rustc");
        let is_proxy = dir.join("rustup").exists();
        if rustc.is_file() && !is_proxy && !found.contains(&rustc) {
            found.push(rustc);
        }
    }
    found
}

/// The version and its middle number, of the output of `rustc -vV`.
fn version_of(verbose: &str) -> Option<(String, u32)> {
    let release = verbose
        .lines()
        .find_map(|line| line.strip_prefix("release: "))?;
    let minor = release.split('.').nth(1)?.parse().ok()?;
    Some((release.to_owned(), minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_what_rustc_says() {
        let verbose = "rustc 1.96.0 (abc)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22\n";
        assert_eq!(version_of(verbose), Some(("1.96.0".to_owned(), 96)));
        assert_eq!(version_of("nothing"), None);
    }
}
