//! Parses the two structured sections of a file.
//!
//! Rejects every mistake with its line: otherwise a misspelled key would silently grant
//! nothing, and a wrong rule could grant too much.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::entries::{Grants, PluginGrant, SecretEntry, SecretSource};
use super::place::{KeyPosition, MAX_ITEMS};
use crate::config::error::ConfigError;
use crate::config::toml_file::parse;
use crate::config::values;
use pgtq_task::{
    FileGrant, Grant, HostRule, LimitRequest, Name, SecretGrant, SqlGrant, is_guest_directory,
};

/// Limit on sections of one kind in one file.
const MAX_SECTIONS: usize = 1_000;

/// Limit on the length of a plugin name in bytes, that of file names.
const MAX_NAME: usize = 255;
/// Limit on the length of a Postgres name in bytes.
const MAX_ROLE: usize = 63;
/// Limit on connections of one plugin in one runner.
const MAX_CONNECTIONS: u64 = 100;
/// Range of the statement timeout: an attempt takes at most one hour.
const STATEMENT: std::ops::RangeInclusive<std::time::Duration> =
    std::time::Duration::from_millis(10)..=std::time::Duration::from_secs(3_600);

const GRANT: &[&str] = &[
    "http", "tcp", "networks", "sql", "secrets", "files", "push", "limits",
];

/// Parses the grants and secrets of a file.
pub(super) fn read(path: &Path, text: &str) -> Result<Grants, ConfigError> {
    let table = parse(path, text)?;
    let mut grants = Grants::default();
    for (key, value) in table.get_ref() {
        let at = KeyPosition::top(path, text, key);
        match key.get_ref().as_ref() {
            "grants" => {
                for (at, value) in at.table(value, "write [grants.PLUGIN]", MAX_SECTIONS)? {
                    let name = at.last().to_owned();
                    if name.len() > MAX_NAME || name.is_empty() || name.contains(['/', '\0']) {
                        return Err(
                            at.wrong("the name must be the plugin's file name without `.wasm`")
                        );
                    }
                    if name.ends_with(".wasm") {
                        return Err(at.wrong("write the name without `.wasm`"));
                    }
                    grants.plugins.insert(name, grant(&at, value)?);
                }
            }
            "secrets" => {
                for (at, value) in at.table(value, "write [secrets.NAME]", MAX_SECTIONS)? {
                    let name = secret_name(&at)?;
                    grants.secrets.insert(name, secret(&at, value)?);
                }
            }
            _ => {}
        }
    }
    Ok(grants)
}

fn grant(at: &KeyPosition<'_>, value: &Spanned<DeValue<'_>>) -> Result<PluginGrant, ConfigError> {
    let mut grant = Grant::default();
    let mut sql_password = None;
    for (at, value) in at.table(value, "write [grants.PLUGIN]", MAX_ITEMS)? {
        match at.last() {
            "http" => grant.http = at.list(value)?,
            "tcp" => grant.tcp = at.list(value)?,
            "networks" => grant.networks = at.list(value)?,
            "push" => grant.push = at.list(value)?,
            "sql" => {
                let (sql, password) = sql(&at, value)?;
                grant.sql = Some(sql);
                sql_password = password;
            }
            "secrets" => {
                let example = "write secrets.NAME = { hosts = [\"api.example.com\"] }";
                for (at, value) in at.table(value, example, MAX_ITEMS)? {
                    let name = secret_name(&at)?;
                    grant.secrets.insert(name, secret_grant(&at, value)?);
                }
            }
            "files" => {
                let example = "write files.\"/data\" = \"DIRECTORY\"";
                for (at, value) in at.table(value, example, MAX_ITEMS)? {
                    grant.files.insert(guest_dir(&at)?, files(&at, value)?);
                }
            }
            "limits" => grant.limits = limits(&at, value)?,
            _ => return Err(at.unknown(GRANT, value)),
        }
    }
    Ok(PluginGrant {
        grant,
        sql_password,
        origin: at.origin(),
    })
}

fn sql(
    at: &KeyPosition<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(SqlGrant, Option<String>), ConfigError> {
    let mut sql = SqlGrant {
        role: String::new(),
        password: None,
        statement_timeout: std::time::Duration::from_secs(5),
        connections: 4,
    };
    let mut password = None;
    if let DeValue::String(role) = value.get_ref() {
        sql.role = self::role(at, role)?;
        return Ok((sql, None));
    }
    let example = "write \"ROLE\" or { role = \"ROLE\", password = \"SECRET\", statement_timeout = \"5s\", connections = 4 }";
    for (at, value) in at.table(value, example, MAX_ITEMS)? {
        match at.last() {
            "role" => sql.role = role(&at, at.string(value)?)?,
            "password" => {
                let name = at.string(value)?;
                Name::new(name).map_err(|error| at.wrong(error.to_string()))?;
                password = Some(name.to_owned());
            }
            "statement_timeout" => {
                let time = values::duration(at.string(value)?).map_err(|e| at.wrong(e))?;
                if !STATEMENT.contains(&time) {
                    return Err(at.wrong("the timeout must be between 10ms and 1h"));
                }
                sql.statement_timeout = time;
            }
            "connections" => sql.connections = connections(&at, value)?,
            _ => {
                let known = &["role", "password", "statement_timeout", "connections"];
                return Err(at.unknown(known, value));
            }
        }
    }
    match sql.role.is_empty() {
        true => Err(at.wrong(format!("the role is missing; {example}"))),
        false => Ok((sql, password)),
    }
}

fn limits(at: &KeyPosition<'_>, value: &Spanned<DeValue<'_>>) -> Result<LimitRequest, ConfigError> {
    let example = "write { memory = \"512MiB\", timeout = \"5m\", fuel = \"100G\" }";
    let mut limits = LimitRequest::default();
    for (at, value) in at.table(value, example, MAX_ITEMS)? {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str(),
            _ => at.string(value)?,
        };
        match at.last() {
            "fuel" => limits.fuel = Some(values::count(text).map_err(|e| at.wrong(e))?),
            "timeout" => {
                let time = values::duration(text).map_err(|e| at.wrong(e))?;
                limits.timeout_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            }
            "memory" => {
                limits.memory = Some(values::memory(text).map_err(|e| at.wrong(e))?);
            }
            _ => return Err(at.unknown(&["memory", "timeout", "fuel"], value)),
        }
    }
    Ok(limits)
}

fn role(at: &KeyPosition<'_>, text: &str) -> Result<String, ConfigError> {
    match text {
        "ROLE" => Err(at.wrong(
            "replace ROLE with the name of the Postgres role that runs the plugin's statements",
        )),
        "" => {
            Err(at.wrong("write the name of the Postgres role that runs the plugin's statements"))
        }
        long if long.len() > MAX_ROLE => {
            Err(at.wrong("the name of a Postgres role has at most 63 bytes"))
        }
        bad if bad.contains('\0') => {
            Err(at.wrong("the name of a Postgres role cannot contain a zero byte"))
        }
        role => Ok(role.to_owned()),
    }
}

fn connections(at: &KeyPosition<'_>, value: &Spanned<DeValue<'_>>) -> Result<u32, ConfigError> {
    let number = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse::<u64>().ok(),
        _ => None,
    };
    match number {
        Some(n @ 1..=MAX_CONNECTIONS) => Ok(u32::try_from(n).unwrap_or(1)),
        _ => Err(at.wrong(format!("write a whole number from 1 to {MAX_CONNECTIONS}"))),
    }
}

fn secret_grant(
    at: &KeyPosition<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<SecretGrant, ConfigError> {
    let example = "write { hosts = [\"api.example.com\"] } or { read = true }";
    let mut grant = SecretGrant::default();
    for (at, value) in at.table(value, example, MAX_ITEMS)? {
        match at.last() {
            "hosts" => grant.hosts = at.list::<Host>(value)?.into_iter().map(|h| h.0).collect(),
            "read" => grant.read = at.flag(value)?,
            _ => return Err(at.unknown(&["hosts", "read"], value)),
        }
    }
    match grant == SecretGrant::default() {
        true => Err(at.wrong(format!("the entry grants nothing; {example}"))),
        false => Ok(grant),
    }
}

/// A host rule, with a hint in the error.
struct Host(HostRule);

impl std::str::FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = |error| format!("{error}; write \"api.example.com\" or \"*.example.com\"");
        text.parse().map(Host).map_err(advice)
    }
}

/// The path of a directory in the sandbox.
fn guest_dir(at: &KeyPosition<'_>) -> Result<String, ConfigError> {
    let name = at.last().trim_end_matches('/');
    match is_guest_directory(name) {
        true => Ok(name.to_owned()),
        false => Err(at.wrong(
            "the path in the sandbox must begin with `/` and contain no `.` or `..`, as in files.\"/data\"",
        )),
    }
}

fn files(at: &KeyPosition<'_>, value: &Spanned<DeValue<'_>>) -> Result<FileGrant, ConfigError> {
    let example = "write \"DIRECTORY\" or { dir = \"DIRECTORY\", write = true }";
    let mut dir = String::new();
    let mut write = false;
    if let DeValue::String(text) = value.get_ref() {
        dir = text.to_string();
    } else {
        for (at, value) in at.table(value, example, MAX_ITEMS)? {
            match at.last() {
                "dir" => dir = at.string(value)?.to_owned(),
                "write" => write = at.flag(value)?,
                _ => return Err(at.unknown(&["dir", "write"], value)),
            }
        }
    }
    match dir.as_str() {
        "DIRECTORY" => Err(at.wrong("replace DIRECTORY with the path of a directory")),
        bad if bad.is_empty() || bad.contains('\0') => {
            Err(at.wrong(format!("the directory is missing; {example}")))
        }
        _ => Ok(FileGrant {
            dir: at.beside(&dir),
            write,
        }),
    }
}

fn secret_name(at: &KeyPosition<'_>) -> Result<String, ConfigError> {
    match Name::new(at.last()) {
        Ok(name) => Ok(name.to_string()),
        Err(error) => Err(at.wrong(error.to_string())),
    }
}

fn secret(at: &KeyPosition<'_>, value: &Spanned<DeValue<'_>>) -> Result<SecretEntry, ConfigError> {
    let example = "write env = \"VARIABLE\" or file = \"PATH\"";
    let mut sources = Vec::new();
    for (at, value) in at.table(value, example, MAX_ITEMS)? {
        let text = match at.last() {
            "env" | "file" => at.string(value)?,
            _ => return Err(at.unknown(&["env", "file"], value)),
        };
        if text.is_empty() || text.contains(['\0', '\n']) {
            return Err(at.wrong(example));
        }
        sources.push(match at.last() {
            // `std::env::var` can panic on invalid names.
            "env" if text.contains('=') => return Err(at.wrong(example)),
            "env" => SecretSource::Env(text.to_owned()),
            _ => SecretSource::File(at.beside(text)),
        });
    }
    match sources.pop() {
        Some(source) if sources.is_empty() => Ok(SecretEntry {
            source,
            origin: at.origin(),
        }),
        Some(_) => Err(at.wrong(format!("the secret has two sources; {example}"))),
        None => Err(at.wrong(format!("the secret has no source; {example}"))),
    }
}
