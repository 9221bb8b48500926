//! Finding the Postgres programs, or installing them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Say, install};

/// The directory that holds `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The directory.
    pub dir: PathBuf,
    /// The version as the programs say it: `15.14 (Debian 15.14-0+deb12u1)`.
    pub version: String,
}

/// No usable Postgres programs on this machine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no Postgres server programs (initdb, postgres) found in {}", tried.join(", "))]
pub struct NoPostgres {
    /// The places that were searched, in order, and what was found there.
    pub tried: Vec<String>,
    /// Possible fixes, one per line.
    pub ways_out: Vec<String>,
}

/// The oldest major version that pgtq runs on.
const OLDEST: u32 = 14;

impl Programs {
    /// Looks in `PGTQ_PG_BIN`, `pg_config --bindir`, `PATH` and the usual places.
    ///
    /// A set `PGTQ_PG_BIN` is the only place looked in: who names a directory
    /// wants that one or an error.
    pub fn find() -> Result<Self, NoPostgres> {
        let mut tried = Vec::new();
        for (label, dir) in candidates() {
            match examine(&dir) {
                Ok(version) => return Ok(Programs { dir, version }),
                Err(why) => tried.push(format!("{label} ({}: {why})", dir.display())),
            }
        }
        if tried.is_empty() {
            tried.push("PGTQ_PG_BIN, pg_config, PATH and the usual directories".to_owned());
        }
        Err(NoPostgres {
            tried,
            ways_out: ways_out(),
        })
    }

    /// Finds the programs, or installs them where that is allowed, then finds them.
    ///
    /// Installing means the system package by apt-get, as root, unless
    /// `PGTQ_NO_INSTALL=1`; each step is told through `say`.
    pub fn ensure(say: Say<'_>) -> Result<Self, NoPostgres> {
        let mut missing = match Self::find() {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        if env::var_os("PGTQ_PG_BIN").is_some() {
            return Err(missing);
        }
        match install::system_packages(&["postgresql"], say) {
            Ok(()) => Self::find(),
            Err(why) => {
                missing.tried.push(format!("apt-get ({why})"));
                Err(missing)
            }
        }
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The directories to look in, best first, with what led to them.
fn candidates() -> Vec<(&'static str, PathBuf)> {
    if let Some(dir) = env::var_os("PGTQ_PG_BIN") {
        return vec![("PGTQ_PG_BIN", PathBuf::from(dir))];
    }
    let mut found = Vec::new();
    if let Some(dir) = pg_config_bindir() {
        found.push(("pg_config", dir));
    }
    if let Some(dir) = on_path("postgres") {
        found.push(("PATH", dir));
    }
    for (parent, before, tail) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        let versions = versions_in(Path::new(parent), before);
        found.extend(
            versions
                .into_iter()
                .map(|dir| ("default location", dir.join(tail))),
        );
    }
    found
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let dir = PathBuf::from(text.trim());
    // Debian's client packages bring a pg_config that names a directory without
    // a server; that is no candidate worth a line in the error.
    dir.join("postgres").exists().then_some(dir)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).find(|dir| dir.join(program).is_file())
}

/// The directories `parent/<before><number>`, highest number first.
fn versions_in(parent: &Path, before: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(before)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The version of the programs in `dir`, or why they will not do.
fn examine(dir: &Path) -> Result<String, String> {
    if !dir.join("initdb").is_file() {
        return Err("has no initdb".to_owned());
    }
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .map_err(|why| format!("cannot run postgres: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().trim_start_matches("postgres (PostgreSQL) ");
    match major(version) {
        Some(major) if major >= OLDEST => Ok(version.to_owned()),
        Some(major) => Err(format!(
            "version {major} is too old, {OLDEST} or later is required"
        )),
        None => Err(format!(
            "unexpected output of postgres --version: {version:?}"
        )),
    }
}

/// The leading number of a version text.
fn major(version: &str) -> Option<u32> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn ways_out() -> Vec<String> {
    let install = if cfg!(target_os = "macos") {
        "install them: brew install postgresql@17"
    } else {
        "install them: apt-get install postgresql (or your system's package)"
    };
    vec![
        install.to_owned(),
        "or set the directory of the programs: PGTQ_PG_BIN=/path/to/bin".to_owned(),
        "or use an existing database: --database-url postgres://... or DATABASE_URL".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_is_the_leading_number() {
        assert_eq!(major("15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(major("19beta1"), Some(19));
        assert_eq!(major("devel"), None);
    }

    #[test]
    fn highest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["pg-9", "pg-16", "pg-15", "pg-x", "other"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let names: Vec<_> = versions_in(parent.path(), "pg-")
            .iter()
            .map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["pg-16", "pg-15", "pg-9"]);
    }

    #[test]
    fn directory_without_programs_says_why() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(examine(empty.path()), Err("has no initdb".to_owned()));
    }
}
