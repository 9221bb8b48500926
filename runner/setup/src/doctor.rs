//! Checks of the local machine for `pgtq doctor`: programs, directories and limits.
//!
//! Checks of the database are elsewhere.

use std::env;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::postgres::Programs;
use super::toolchain::Toolchain;
use super::{Say, places};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The subject of the check, such as `postgres programs`.
    pub name: &'static str,
    /// The outcome.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// How to fix the problem: if possible, a command to run.
    pub fix: Option<String>,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// No problem.
    Ok,
    /// Works, with a limitation.
    Warn,
    /// Something will fail.
    Bad,
}

/// With fewer open files, a runner with a few dozen slots fails.
const FEW_FILES: u64 = 256;
/// Enough for any runner: connections, plugins, file watches and a margin.
const ENOUGH_FILES: u64 = 1024;
/// A build of plugins or a private database needs a few hundred megabytes.
const LITTLE_SPACE: u64 = 100 << 20;
const ENOUGH_SPACE: u64 = 1 << 30;

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Check {
            name,
            status: Status::Ok,
            detail: detail.into(),
            fix: None,
        }
    }

    fn not_ok(name: &'static str, status: Status, detail: String, fix: String) -> Self {
        Check {
            name,
            status,
            detail,
            fix: Some(fix),
        }
    }
}

/// Checks this machine. `plugin_dir` is the directory that a runner watches for
/// plugins. Makes no permanent changes. Takes less than a second.
pub fn machine(plugin_dir: &Path) -> Vec<Check> {
    vec![
        postgres_programs(),
        wasm_toolchain(),
        cache_directory(places::cache_dir()),
        plugin_directory(plugin_dir),
        file_events(plugin_dir),
        open_files(),
        disk_space(places::cache_dir().as_deref().unwrap_or(plugin_dir)),
    ]
}

/// Installs or creates what is missing, without prompting, then runs the checks
/// again. May take minutes.
pub fn fix(plugin_dir: &Path, say: Say<'_>) -> Vec<Check> {
    // Failures are reported by the checks that follow.
    let _ = Programs::ensure(say);
    let _ = Toolchain::ensure(&here(), say);
    for dir in [places::cache_dir().as_deref(), Some(plugin_dir)] {
        if let Some(dir) = dir.filter(|dir| !dir.exists()) {
            say(&format!("creating directory {}", dir.display()));
            let _ = fs::create_dir_all(dir);
        }
    }
    machine(plugin_dir)
}

/// A warning if missing: only `dev`, `demo` and the tests need the programs.
fn postgres_programs() -> Check {
    const NAME: &str = "postgres programs";
    match Programs::find() {
        Ok(found) => Check::ok(
            NAME,
            format!("{} in {}", found.version, found.dir.display()),
        ),
        Err(missing) => {
            let fixes = missing.fixes.join("; or ");
            Check::not_ok(NAME, Status::Warn, missing.to_string(), fixes)
        }
    }
}

/// A warning if missing: the toolchain builds plugins, and running them does not need it.
fn wasm_toolchain() -> Check {
    const NAME: &str = "wasm toolchain";
    match Toolchain::find(&here()) {
        Ok(found) => Check::ok(NAME, found.description()),
        Err(missing) => {
            let detail = missing.to_string();
            Check::not_ok(NAME, Status::Warn, detail, missing.fix)
        }
    }
}

fn cache_directory(dir: Option<PathBuf>) -> Check {
    const NAME: &str = "cache directory";
    let fix = "set PGTQ_CACHE_DIR to a writable directory".to_owned();
    let Some(dir) = dir else {
        let detail = "there is no home directory".to_owned();
        return Check::not_ok(NAME, Status::Bad, detail, fix);
    };
    match try_to_write(&dir) {
        Ok(()) => Check::ok(NAME, dir.display().to_string()),
        Err(error) => {
            let detail = format!("cannot write to {}: {error}", dir.display());
            Check::not_ok(NAME, Status::Bad, detail, fix)
        }
    }
}

fn plugin_directory(dir: &Path) -> Check {
    const NAME: &str = "plugin directory";
    match dir.read_dir() {
        Ok(entries) => {
            let is_wasm = |path: &Path| path.extension().is_some_and(|e| e == "wasm");
            let n_files = entries.flatten().filter(|e| is_wasm(&e.path())).count();
            Check::ok(NAME, format!("{}, .wasm files: {n_files}", dir.display()))
        }
        Err(error) => {
            let detail = format!("cannot read {}: {error}", dir.display());
            let fix = match error.kind() {
                io::ErrorKind::NotFound => format!("mkdir -p {}", dir.display()),
                _ => format!("chmod u+rx {}", dir.display()),
            };
            Check::not_ok(NAME, Status::Bad, detail, fix)
        }
    }
}

/// Without file events, a new plugin is found by the next rescan, seconds later.
#[cfg(target_os = "linux")]
fn file_events(dir: &Path) -> Check {
    const NAME: &str = "file events";
    // SAFETY: both calls take and return numbers; the descriptor is closed once.
    let error = unsafe {
        let descriptor = libc::inotify_init1(libc::IN_CLOEXEC);
        if descriptor < 0 {
            Some(io::Error::last_os_error())
        } else {
            libc::close(descriptor);
            None
        }
    };
    if let Some(error) = error {
        let fix = "sysctl fs.inotify.max_user_instances=1024".to_owned();
        let detail = format!("inotify is not available: {error}");
        return Check::not_ok(NAME, Status::Warn, detail, fix);
    }
    match file_system(dir) {
        Some(remote) => Check::not_ok(
            NAME,
            Status::Warn,
            format!(
                "{} is on {remote}, which does not report changes by other machines",
                dir.display()
            ),
            "pgtq run --watch-poll 2s".to_owned(),
        ),
        None => Check::ok(NAME, "inotify works"),
    }
}

#[cfg(not(target_os = "linux"))]
fn file_events(_dir: &Path) -> Check {
    Check::ok("file events", "supported by the system")
}

/// The name of the file system of `dir`, if it does not report changes by other machines.
#[cfg(target_os = "linux")]
fn file_system(dir: &Path) -> Option<&'static str> {
    let path = CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: `path` is NUL-terminated and lives through the call; a zeroed statfs is
    // a valid value to overwrite.
    let kind = unsafe {
        let mut facts: libc::statfs = std::mem::zeroed();
        if libc::statfs(path.as_ptr(), &raw mut facts) != 0 {
            return None;
        }
        facts.f_type
    };
    // Constants from statfs(2). The type of the field differs between architectures.
    match kind as i64 & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x6573_5546 => Some("FUSE"),
        _ => None,
    }
}

fn open_files() -> Check {
    const NAME: &str = "open files";
    // SAFETY: getrlimit writes to the struct that it is given.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur
    };
    let status = by_amount(limit, FEW_FILES, ENOUGH_FILES);
    let detail = format!("limit {limit}");
    match status {
        Status::Ok => Check::ok(NAME, detail),
        _ => Check::not_ok(NAME, status, detail, format!("ulimit -n {ENOUGH_FILES}")),
    }
}

fn disk_space(dir: &Path) -> Check {
    const NAME: &str = "disk space";
    let Some(dir) = dir.ancestors().find(|dir| dir.is_dir()) else {
        return Check::ok(NAME, "unknown");
    };
    let Some(free) = free_bytes(dir) else {
        return Check::ok(NAME, "unknown");
    };
    let detail = format!("{} MiB free at {}", free >> 20, dir.display());
    match by_amount(free, LITTLE_SPACE, ENOUGH_SPACE) {
        Status::Ok => Check::ok(NAME, detail),
        status => {
            let fix = "free some space, or set PGTQ_CACHE_DIR to another disk".to_owned();
            Check::not_ok(NAME, status, detail, fix)
        }
    }
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let path = CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: as in `file_system`.
    let facts = unsafe {
        let mut facts: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut facts) == 0).then_some(facts)?
    };
    // The width of the fields differs between systems.
    let free = u128::from(facts.f_bavail) * u128::from(facts.f_frsize);
    Some(u64::try_from(free).unwrap_or(u64::MAX))
}

fn by_amount(amount: u64, little: u64, enough: u64) -> Status {
    match amount {
        _ if amount < little => Status::Bad,
        _ if amount < enough => Status::Warn,
        _ => Status::Ok,
    }
}

/// Creates a file in `dir`, or in its nearest existing ancestor.
fn try_to_write(dir: &Path) -> io::Result<()> {
    let existing = dir
        .ancestors()
        .find(|dir| dir.exists())
        .ok_or(io::ErrorKind::NotFound)?;
    tempfile::tempfile_in(existing).map(drop)
}

fn here() -> PathBuf {
    env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plugin_directory_has_a_fix() {
        let check = plugin_directory(Path::new("/nowhere/plugins"));
        assert_eq!(check.status, Status::Bad);
        assert_eq!(check.fix.as_deref(), Some("mkdir -p /nowhere/plugins"));
    }

    #[test]
    fn plugin_files_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.wasm", "b.wasm", "c.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let check = plugin_directory(dir.path());
        assert_eq!(check.status, Status::Ok);
        assert!(check.detail.ends_with(".wasm files: 2"), "{}", check.detail);
    }

    #[test]
    fn a_cache_directory_inside_a_file_is_bad_and_inside_a_directory_is_ok() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            cache_directory(Some(file.path().join("cache"))).status,
            Status::Bad
        );
        assert_eq!(cache_directory(None).status, Status::Bad);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            cache_directory(Some(dir.path().join("a/b"))).status,
            Status::Ok
        );
    }

    #[test]
    fn two_thresholds_separate_bad_warn_and_ok() {
        assert_eq!(by_amount(1, 10, 100), Status::Bad);
        assert_eq!(by_amount(10, 10, 100), Status::Warn);
        assert_eq!(by_amount(100, 10, 100), Status::Ok);
    }

    #[test]
    fn every_failed_check_has_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        for check in machine(&dir.path().join("missing")) {
            assert_eq!(check.status == Status::Ok, check.fix.is_none(), "{check:?}");
        }
    }
}
