//! The contents of `[grants.NAME]` and `[secrets.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Origin;
use pgtq_task::Grant;

/// The grants and secrets of all files, without the values of secrets.
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
    /// The grant without the password of its SQL role.
    pub grant: Grant,
    /// The secret with the password of its SQL role.
    pub sql_password: Option<String>,
    /// Where it is set.
    pub origin: Origin,
}

/// One `[secrets.NAME]`.
#[derive(Debug, Clone)]
pub struct SecretEntry {
    /// The source of its value.
    pub source: SecretSource,
    /// Where it is set.
    pub origin: Origin,
}

/// The source of the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the runner.
    Env(String),
    /// A file; one line feed at the end is removed.
    File(PathBuf),
}
