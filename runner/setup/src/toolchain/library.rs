//! The standard library for wasm, built once from the system's sources.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::system::SystemRust;
use super::{TARGET, environment, reproducible};
use crate::{Say, places};

/// A crate that makes cargo build the library, and proves that the linker works.
const PROBE_MANIFEST: &str = "\
[package]
name = \"pgtq-probe\"
version = \"0.0.0\"
edition = \"2024\"

[lib]
path = \"lib.rs\"
crate-type = [\"cdylib\"]

[profile.release]
debug = false

[workspace]
";
const PROBE_SOURCE: &str = "\
#[unsafe(no_mangle)]
pub extern \"C\" fn probe() {
    println!(\"{:?}\", std::env::args().next());
}
";

/// The sysroot with the library for `rust`, whether or not it exists.
pub(super) fn sysroot(rust: &SystemRust) -> Option<PathBuf> {
    Some(places::cache_dir()?.join("wasm-std").join(&rust.key))
}

/// Whether a finished library is there.
pub(super) fn is_built(sysroot: &Path) -> bool {
    target_libraries(sysroot).is_dir()
}

/// Builds the library unless it is there. Takes about a minute; a second process
/// that wants it meanwhile waits.
pub(super) fn ensure(rust: &SystemRust, say: Say<'_>) -> Result<PathBuf, String> {
    let sysroot = sysroot(rust).ok_or("no home directory: set PGTQ_CACHE_DIR")?;
    if is_built(&sysroot) {
        return Ok(sysroot);
    }
    let parent = sysroot.parent().expect("it was joined to one");
    let in_cache = |error: io::Error| format!("write to {}: {error}", parent.display());
    fs::create_dir_all(parent).map_err(in_cache)?;
    let lock = File::create(parent.join("lock")).map_err(in_cache)?;
    lock.lock().map_err(in_cache)?;
    if is_built(&sysroot) {
        return Ok(sysroot);
    }
    say(&format!(
        "building the standard library of rustc {} for {TARGET}, about a minute, once",
        rust.version
    ));
    let started = Instant::now();
    let scratch = sysroot.with_extension("building");
    compile(rust, &scratch)?;
    let unfinished = sysroot.with_extension("new");
    let _ = fs::remove_dir_all(&unfinished);
    assemble(rust, &scratch, &unfinished).map_err(in_cache)?;
    // A half-written sysroot never has the name that is looked for.
    fs::rename(&unfinished, &sysroot).map_err(in_cache)?;
    let _ = fs::remove_dir_all(&scratch);
    say(&format!("built it in {} s", started.elapsed().as_secs()));
    Ok(sysroot)
}

fn target_libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

/// Runs cargo in `scratch`; what an interrupted run left there is used.
fn compile(rust: &SystemRust, scratch: &Path) -> Result<(), String> {
    let in_scratch = |error: io::Error| format!("write to {}: {error}", scratch.display());
    fs::create_dir_all(scratch).map_err(in_scratch)?;
    fs::write(scratch.join("Cargo.toml"), PROBE_MANIFEST).map_err(in_scratch)?;
    fs::write(scratch.join("lib.rs"), PROBE_SOURCE).map_err(in_scratch)?;
    let libc = format!("-L{}", rust.libc_dir.display());
    let home = reproducible::cargo_home(scratch, None);
    let home = format!("--remap-path-prefix={}=/cargo", home.display());
    let std = rust.std.remaps();
    let mut flags = vec!["-Clink-self-contained=no", &libc, &home];
    flags.extend(std.iter().map(String::as_str));
    let output = environment::command(&rust.cargo, scratch)
        .args(["build", "--release", "--quiet", "--target", TARGET])
        .args(["-Z", "build-std=std,panic_abort"])
        .args(super::build::target_settings(rust, &flags))
        .env("RUSTC", &rust.rustc)
        // Building the library is unstable, and the sources are the compiler's own.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        .output()
        .map_err(|why| format!("run {}: {why}", rust.cargo.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("build the standard library:\n{}", words.trim_end()))
}

/// Lays the built libraries and the C library out as rustc expects a sysroot.
fn assemble(rust: &SystemRust, scratch: &Path, sysroot: &Path) -> io::Result<()> {
    let libraries = target_libraries(sysroot);
    let c_library = libraries.join("self-contained");
    fs::create_dir_all(&c_library)?;
    let built = scratch.join("target").join(TARGET).join("release/deps");
    copy_with_extension(&built, &libraries, &["rlib"])?;
    copy_with_extension(&rust.libc_dir, &c_library, &["a", "o"])
}

fn copy_with_extension(from: &Path, to: &Path, extensions: &[&str]) -> io::Result<()> {
    for entry in from.read_dir()? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if let (Some(extension), Some(name)) = (extension, path.file_name())
            && extensions.contains(&extension)
        {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
