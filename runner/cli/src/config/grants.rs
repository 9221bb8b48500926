//! `[grants.NAME]` and `[secrets.NAME]`: what plugins may do, and where the
//! values of secrets come from.
//!
//! Structured, so they have a reader of their own (`reader`). Of several files
//! the strongest that has a section of some name gives all of that section.
//! Values of secrets are fetched by [`Grants::resolve`] and by nobody else; what
//! is printed of them is their names and sources.

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

impl Grants {
    /// Reads all files, highest precedence first, and checks them against each
    /// other.
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

    /// Every secret that a plugin is granted has to be defined.
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

    /// Fetches the values of all secrets, which may block on a slow disk, and
    /// puts the book together. A secret without a value is no reason to stop:
    /// who uses it is told that it is unavailable.
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
                // Named, but without a value: not the same as no password.
                let value = book.secrets.get(name).cloned();
                sql.password = Some(value.unwrap_or_else(|| Secret::new("")));
            }
            book.plugins.insert(plugin.clone(), Arc::new(grant));
        }
        (book, missing)
    }

    /// A book of the limits alone: who holds it can do no more than any plugin, for
    /// longer.
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

    /// The files that hold values of secrets.
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
