//! `[grants.NAME]` and `[secrets.NAME]`: the capabilities of plugins, and the sources of
//! the values of secrets.
//!
//! `reader` parses these structured sections. If several files contain a section of the
//! same name, the file with the highest precedence provides the whole section. Only
//! [`Grants::resolve`] reads the values of secrets. Only their names and sources are
//! printed.

mod changes;
mod place;
mod reader;
mod shown;
mod value;

pub use changes::changes;
pub use value::MissingSecret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgtq_task::{Grant, GrantBook, Secret};

use super::{ConfigError, Origin};

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

impl Grants {
    /// Parses all files, highest precedence first, and checks their references.
    pub fn read(files: &[(PathBuf, String)]) -> Result<Grants, ConfigError> {
        let mut grants = Grants::default();
        for (path, text) in files {
            let file = reader::read(path, text)?;
            for (name, grant) in file.plugins {
                grants.plugins.entry(name).or_insert(grant);
            }
            for (name, secret) in file.secrets {
                grants.secrets.entry(name).or_insert(secret);
            }
        }
        grants.check()?;
        Ok(grants)
    }

    /// Checks that all granted secrets are defined.
    fn check(&self) -> Result<(), ConfigError> {
        for (plugin, granted) in &self.plugins {
            let names = granted.grant.secrets.keys();
            let names = names.map(|name| (name, "secrets"));
            let password = granted.sql_password.iter().map(|name| (name, "sql"));
            for (name, field) in names.chain(password) {
                if self.secrets.contains_key(name) {
                    continue;
                }
                let known = self.secrets.keys().map(String::as_str);
                let advice = match super::keys::closest(name, known) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!(
                        "add [secrets.{}] with env = \"VARIABLE\" or file = \"PATH\"",
                        pgtq_task::toml_key(name)
                    ),
                };
                return Err(ConfigError::Value {
                    key: format!("grants.{}.{field}", pgtq_task::toml_key(plugin)),
                    origin: granted.origin.clone(),
                    reason: format!("secret `{name}` is not defined; {advice}"),
                });
            }
        }
        Ok(())
    }

    /// Reads the values of all secrets and creates the grant book. Blocks on the disk. A
    /// secret without a value is unavailable to plugins; the others still work.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> (GrantBook, Vec<MissingSecret>) {
        let mut book = GrantBook::default();
        let mut missing = Vec::new();
        for (name, secret) in &self.secrets {
            match value::fetch(&secret.source, env) {
                Ok(value) => drop(book.secrets.insert(name.clone(), value)),
                Err(reason) => missing.push(MissingSecret {
                    name: name.clone(),
                    reason,
                    origin: secret.origin.clone(),
                }),
            }
        }
        for (plugin, granted) in &self.plugins {
            let mut grant = granted.grant.clone();
            if let (Some(sql), Some(name)) = (&mut grant.sql, &granted.sql_password) {
                // An empty password, because the role requires one.
                let value = book.secrets.get(name).cloned();
                sql.password = Some(value.unwrap_or_else(|| Secret::new("")));
            }
            book.plugins.insert(plugin.clone(), Arc::new(grant));
        }
        (book, missing)
    }

    /// A grant book with only the limits, without capabilities.
    pub fn limits(&self) -> GrantBook {
        let limits = self.plugins.iter().map(|(plugin, granted)| {
            let grant = Grant {
                limits: granted.grant.limits,
                ..Grant::default()
            };
            (plugin.clone(), Arc::new(grant))
        });
        GrantBook {
            plugins: limits.collect(),
            ..GrantBook::default()
        }
    }

    /// The files that contain values of secrets.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        self.secrets
            .values()
            .filter_map(|secret| match &secret.source {
                SecretSource::File(path) => Some(path.as_path()),
                SecretSource::Env(_) => None,
            })
    }
}

#[cfg(test)]
mod tests;
