//! Reads the values of secrets from their sources.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::SecretSource;
use crate::config::Origin;
use pgtq_task::Secret;

/// Limit on the size of a secret in bytes. Keys and certificates have a few thousand.
const MAX_BYTES: usize = 64 << 10;

/// A secret that has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSecret {
    /// Its name.
    pub name: String,
    /// The reason, without parts of the value.
    pub reason: String,
    /// Where it is set.
    pub origin: Origin,
}

impl std::fmt::Display for MissingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "secret `{}` ({}) has no value: {}",
            self.name, self.origin, self.reason
        )
    }
}

/// Reads one value. The error does not contain the value.
pub(super) fn fetch(
    source: &SecretSource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, String> {
    let (value, what) = match source {
        SecretSource::Env(name) => {
            let what = format!("the environment variable {name}");
            let value = env(name).ok_or_else(|| format!("{what} is not set"))?;
            (value, what)
        }
        SecretSource::File(path) => (read(path)?, format!("the file {}", path.display())),
    };
    match value.len() {
        0 => Err(format!("{what} is empty")),
        n if n > MAX_BYTES => Err(format!("{what} has more than {MAX_BYTES} bytes")),
        _ => Ok(Secret::new(value)),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("the file {shown} does not exist"),
        ErrorKind::InvalidData => format!("the file {shown} is not valid UTF-8"),
        _ => format!("cannot read the file {shown}: {error}"),
    };
    // Opening a pipe would block until there is a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mut value = String::new();
    let file = File::open(path).map_err(failed)?;
    // Includes a line ending, and one byte that shows that the file is too large.
    file.take(MAX_BYTES as u64 + 3)
        .read_to_string(&mut value)
        .map_err(failed)?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(value)
}
