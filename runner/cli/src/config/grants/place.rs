//! A key of a file with its position, and readers for the types of its value.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use crate::config::error::ConfigError;
use crate::config::keys;
use crate::config::origin::Origin;
use crate::config::toml_file::line_at;
use pgtq_task::toml_key;

/// Limit on items of a list and entries of a table.
pub(super) const MAX_ITEMS: usize = 1_000;

/// A key of a file, for errors and for paths relative to the file.
pub(super) struct KeyPosition<'a> {
    path: &'a Path,
    text: &'a str,
    /// The full key: `grants.mailer.http`.
    key: String,
    /// The last part of the key, without quotes.
    last: String,
    offset: usize,
}

/// The entries of a table, each with its place.
type Entries<'a, 'v> = Vec<(KeyPosition<'a>, &'v Spanned<DeValue<'v>>)>;

impl<'a> KeyPosition<'a> {
    /// A top-level key.
    pub(super) fn top(
        path: &'a Path,
        text: &'a str,
        key: &Spanned<DeString<'_>>,
    ) -> KeyPosition<'a> {
        KeyPosition {
            path,
            text,
            key: key.get_ref().to_string(),
            last: key.get_ref().to_string(),
            offset: key.span().start,
        }
    }

    fn below(&self, key: &Spanned<DeString<'_>>) -> KeyPosition<'a> {
        KeyPosition {
            key: format!("{}.{}", self.key, toml_key(key.get_ref())),
            last: key.get_ref().to_string(),
            offset: key.span().start,
            ..*self
        }
    }

    /// The last part of the key, without quotes.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: line_at(self.text, self.offset),
        }
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            key: self.key.clone(),
            origin: self.origin(),
            reason: reason.into(),
        }
    }

    /// The error for an unknown key. A table is probably the second part of an unquoted name
    /// with a dot.
    pub(super) fn unknown(&self, known: &[&str], value: &Spanned<DeValue<'_>>) -> ConfigError {
        let section = self.key.strip_suffix(&toml_key(&self.last));
        let section = section.unwrap_or_default().trim_end_matches('.');
        let similar = keys::closest(&self.last, known.iter().copied());
        let suggestion = match (similar, value.get_ref(), section.split_once('.')) {
            (Some(similar), ..) => Some(format!("{section}.{similar}")),
            (None, DeValue::Table(_), Some((head, name))) if !name.contains(['.', '"']) => {
                Some(format!("{head}.\"{name}.{}\"", self.last))
            }
            _ => {
                return self.wrong(format!("unknown key; known keys are {}", known.join(", ")));
            }
        };
        ConfigError::UnknownKey {
            path: self.path.to_owned(),
            line: line_at(self.text, self.offset),
            key: self.key.clone(),
            suggestion,
        }
    }

    /// The entries of a table; `example` is the hint if the value is not a table.
    pub(super) fn table<'v>(
        &self,
        value: &'v Spanned<DeValue<'v>>,
        example: &str,
        most: usize,
    ) -> Result<Entries<'a, 'v>, ConfigError> {
        let DeValue::Table(table) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return Err(self.wrong(format!("unexpected type {found}; {example}")));
        };
        if table.len() > most {
            return Err(self.wrong(format!("more than {most} entries")));
        }
        let entries = table.iter().map(|(key, value)| (self.below(key), value));
        Ok(entries.collect())
    }

    pub(super) fn string<'v>(
        &self,
        value: &'v Spanned<DeValue<'_>>,
    ) -> Result<&'v str, ConfigError> {
        let found = value.get_ref();
        found.as_str().ok_or_else(|| {
            let found = found.type_str();
            self.wrong(format!("unexpected type {found}; write a quoted string"))
        })
    }

    pub(super) fn flag(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, ConfigError> {
        let found = value.get_ref();
        found.as_bool().ok_or_else(|| {
            let found = found.type_str();
            self.wrong(format!("unexpected type {found}; write true or false"))
        })
    }

    /// A string, or a list of strings.
    pub(super) fn list<T>(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, ConfigError>
    where
        T: FromStr<Err = String>,
    {
        let single = std::slice::from_ref(value);
        let items = match value.get_ref() {
            DeValue::Array(items) => &**items,
            _ => single,
        };
        if items.len() > MAX_ITEMS {
            return Err(self.wrong(format!("more than {MAX_ITEMS} entries")));
        }
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let at = KeyPosition {
                key: self.key.clone(),
                last: self.last.clone(),
                // Items of a list can be on different lines.
                offset: item.span().start,
                ..*self
            };
            list.push(
                at.string(item)?
                    .parse()
                    .map_err(|error: String| at.wrong(error))?,
            );
        }
        Ok(list)
    }

    /// A path relative to the directory of this file.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }
}
