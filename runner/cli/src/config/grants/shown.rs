//! Formats grants and secrets for `pgtq config show`: names and sources, without values.

use super::{Grants, PluginGrant, SecretEntry, SecretSource};
use crate::config::Origin;
use pgtq_task::toml_key;

impl Grants {
    /// The grants of a plugin, one line for each capability; empty if there are none.
    pub fn lines_of(&self, plugin: &str) -> Vec<String> {
        let granted = self.plugins.get(plugin).map(fields).unwrap_or_default();
        granted
            .into_iter()
            .map(|(field, text)| format!("{field}: {text}"))
            .collect()
    }

    /// Key, value and origin of all grants and secrets.
    pub fn rows(&self) -> Vec<(String, String, Origin)> {
        let plugins = self.plugins.iter().flat_map(|(name, granted)| {
            let section = format!("grants.{}", toml_key(name));
            let rows = fields(granted).into_iter();
            rows.map(move |(field, text)| {
                (format!("{section}.{field}"), text, granted.origin.clone())
            })
        });
        let secrets = self.secrets.iter().map(|(name, secret)| {
            let key = format!("secrets.{}", toml_key(name));
            (key, source(secret), secret.origin.clone())
        });
        plugins.chain(secrets).collect()
    }
}

fn source(secret: &SecretEntry) -> String {
    match &secret.source {
        SecretSource::Env(name) => format!("env {name}"),
        SecretSource::File(path) => format!("file {}", path.display()),
    }
}

fn fields(granted: &PluginGrant) -> Vec<(String, String)> {
    let grant = &granted.grant;
    let mut rows = Vec::new();
    let mut list = |field: &str, items: Vec<String>| {
        if !items.is_empty() {
            rows.push((field.to_owned(), items.join(", ")));
        }
    };
    list("http", texts(&grant.http));
    list("tcp", texts(&grant.tcp));
    list("networks", texts(&grant.networks));
    list("push", texts(&grant.push));
    if let Some(sql) = &grant.sql {
        let mut text = format!("role {}", sql.role);
        if let Some(secret) = &granted.sql_password {
            text.push_str(&format!(", password from secret {secret}"));
        }
        text.push_str(&format!(
            ", {:?} per statement, {} connections",
            sql.statement_timeout, sql.connections
        ));
        rows.push(("sql".to_owned(), text));
    }
    for (name, secret) in &grant.secrets {
        let mut ways = Vec::new();
        if !secret.hosts.is_empty() {
            ways.push(format!("in headers to {}", texts(&secret.hosts).join(", ")));
        }
        if secret.read {
            ways.push("may be read".to_owned());
        }
        rows.push((format!("secrets.{}", toml_key(name)), ways.join("; ")));
    }
    for (guest, file) in &grant.files {
        let how = if file.write { "read and write" } else { "read" };
        let text = format!("{} ({how})", file.dir.display());
        rows.push((format!("files.{}", toml_key(guest)), text));
    }
    if !grant.limits.is_empty() {
        let text = grant.limits.toml_fields().join(", ");
        rows.push(("limits".to_owned(), text));
    }
    rows
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
