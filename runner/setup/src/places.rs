//! The paths of the directories that pgtq writes to. Does not create them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::postgres::effective_uid;

/// The cache directory: `PGTQ_CACHE_DIR`, or `pgtq` in the user's cache directory.
/// `None` if there is no home directory.
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_from(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(dir) = variable("PGTQ_CACHE_DIR") {
        return Some(PathBuf::from(dir));
    }
    if let Some(dir) = variable("XDG_CACHE_HOME") {
        return Some(Path::new(&dir).join("pgtq"));
    }
    let below_home = if cfg!(target_os = "macos") {
        "Library/Caches/pgtq"
    } else {
        ".cache/pgtq"
    };
    Some(Path::new(&variable("HOME")?).join(below_home))
}

/// The data directory of the private Postgres of `project`. One directory per project
/// path, in `~/.local/share/pgtq`, or in `/var/lib/pgtq` for root, because the server
/// then runs as a user without access to root's home.
pub fn kept_postgres_dir(project: &Path) -> PathBuf {
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    let base = match (effective_uid(), home) {
        (0, _) | (_, None) => PathBuf::from("/var/lib/pgtq"),
        (_, Some(home)) => Path::new(&home).join(".local/share/pgtq"),
    };
    let path = project
        .canonicalize()
        .unwrap_or_else(|_| project.to_owned());
    base.join(format!("postgres-{}", short_hash(&path.to_string_lossy())))
}

/// The first 12 hexadecimal digits of the SHA-256 of `text`.
pub(super) fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_variable_has_precedence() {
        let given = |names: &'static [&'static str]| {
            cache_dir_from(move |name| names.contains(&name).then(|| format!("/{name}").into()))
        };
        let all = &["PGTQ_CACHE_DIR", "XDG_CACHE_HOME", "HOME"];
        assert_eq!(given(all), Some(PathBuf::from("/PGTQ_CACHE_DIR")));
        assert_eq!(
            given(&all[1..]),
            Some(PathBuf::from("/XDG_CACHE_HOME/pgtq"))
        );
        assert!(given(&all[2..]).unwrap().starts_with("/HOME"));
        assert_eq!(given(&[]), None);
    }

    #[test]
    fn each_project_has_its_own_data_directory() {
        let one = kept_postgres_dir(Path::new("/one"));
        assert_ne!(one, kept_postgres_dir(Path::new("/two")));
        assert_eq!(one, kept_postgres_dir(Path::new("/one")));
    }
}
