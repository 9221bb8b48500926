//! What the sections `[grants.NAME]` and `[secrets.NAME]` say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pgtq_task::Grant;

use crate::config::origin::Origin;

/// What the files say, before secrets have values.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// By plugin: the file's name without `.wasm`.
    pub plugins: BTreeMap<String, PluginGrant>,
    /// By name.
    pub secrets: BTreeMap<String, SecretEntry>,
}

/// One `[grants.NAME]`.
#[derive(Debug, Clone)]
pub struct PluginGrant {
    /// All of it but the password of its SQL.
    pub grant: Grant,
    /// The secret that holds the password of its SQL.
    pub sql_password: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// One `[secrets.NAME]`.
#[derive(Debug, Clone)]
pub struct SecretEntry {
    /// Where its value is.
    pub source: SecretSource,
    /// Where it stands.
    pub origin: Origin,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the runner's environment.
    Env(String),
    /// A file; one line feed at its end does not count.
    File(PathBuf),
}
