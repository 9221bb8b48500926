//! Parses a TOML file into rows of key, text and line, and rejects unknown keys.
//! [`super::grants`] parses grants and secrets.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, SettingType};
use super::origin::Origin;

/// One value of a file.
pub(super) struct TomlEntry {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) line: usize,
}

/// All rows of the file, in no particular order.
pub(super) fn rows(path: &Path, text: &str) -> Result<Vec<TomlEntry>, ConfigError> {
    let table = parse(path, text)?;
    let mut reader = TomlReader {
        path,
        text,
        rows: Vec::new(),
    };
    reader.table("", table.get_ref())?;
    Ok(reader.rows)
}

/// Parses the file into a tree with positions.
pub(super) fn parse<'a>(path: &Path, text: &'a str) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or_default();
        let hint = match message.starts_with("duplicate key") {
            true => "; the section or key is already defined: merge the two definitions",
            false => "",
        };
        ConfigError::Syntax {
            path: path.to_owned(),
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            reason: format!("{message}{hint}"),
        }
    })
}

struct TomlReader<'a> {
    path: &'a Path,
    text: &'a str,
    rows: Vec<TomlEntry>,
}

impl TomlReader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = match prefix {
                "" => key.get_ref().to_string(),
                prefix => format!("{prefix}.{}", key.get_ref()),
            };
            if keys::STRUCTURED.contains(&name.as_str()) {
                continue;
            }
            let line = line_at(self.text, key.span().start);
            if let Some(kind) = keys::kind_of(&name) {
                let text = self.value(&name, line, kind, value.get_ref())?;
                self.rows.push(TomlEntry {
                    key: name,
                    text,
                    line,
                });
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&name) => self.table(&name, inner)?,
                _ => {
                    return Err(ConfigError::UnknownKey {
                        path: self.path.to_owned(),
                        line,
                        suggestion: keys::similar(&name),
                        key: name,
                    });
                }
            }
        }
        Ok(())
    }

    fn value(
        &self,
        name: &str,
        line: usize,
        kind: SettingType,
        value: &DeValue<'_>,
    ) -> Result<String, ConfigError> {
        let plain = match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Array(items) if kind == SettingType::Queues => items
                .iter()
                .map(|item| item.get_ref().as_str())
                .collect::<Option<Vec<_>>>()
                .map(|names| names.join(",")),
            _ => None,
        };
        plain.ok_or_else(|| ConfigError::Value {
            key: name.to_owned(),
            origin: Origin::File {
                path: self.path.to_owned(),
                line,
            },
            reason: format!("unexpected type {}", value.type_str()),
        })
    }
}

fn is_section(name: &str) -> bool {
    match name.split_once('.') {
        None => {
            matches!(name, "handlers" | "queues")
                || keys::KEYS
                    .iter()
                    .any(|key| key.name.split('.').next() == Some(name))
        }
        Some((section, _)) => matches!(section, "handlers" | "queues"),
    }
}

/// The line of a byte offset in the file, counted from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
