//! Merges options, environment and files by precedence, and keeps the origin of each value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::grants::Grants;
use super::keys::{self, KEYS, SettingType};
use super::origin::{Flag, Origin, Setting};
use super::{toml_file, values};

/// All settings with a value. The values are valid for their types.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    settings: BTreeMap<String, Setting>,
    /// The files read, highest precedence first.
    pub files: Vec<PathBuf>,
    /// Grants and secrets of all files.
    pub grants: Grants,
    /// Whether libpq's variables name the database, with no source of higher precedence.
    pub pg_variables: bool,
}

impl Layers {
    /// Merges all sources. `files` are in order of precedence, highest first; `env` reads one
    /// variable.
    pub fn merge(
        flags: &[Flag],
        env: &dyn Fn(&str) -> Option<String>,
        files: &[(PathBuf, String)],
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            layers.put(key.name, key.default.to_owned(), Origin::Default)?;
        }
        for (path, text) in files.iter().rev() {
            layers.file(path, text)?;
        }
        layers.files = files.iter().map(|(path, _)| path.clone()).collect();
        layers.grants = Grants::read(files)?;
        layers.environment(env)?;
        for flag in flags {
            layers.put(flag.key, flag.text.clone(), Origin::Flag(flag.flag))?;
        }
        layers.pg_variables = layers.is_pg(env);
        Ok(layers)
    }

    /// The setting of `key`.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// All settings that have a value, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let base = path.parent().unwrap_or(Path::new("."));
        for row in toml_file::rows(path, text)? {
            let text = match keys::kind_of(&row.key) {
                Some(SettingType::Path) if !row.text.is_empty() => {
                    base.join(&row.text).to_string_lossy().into_owned()
                }
                _ => row.text,
            };
            let origin = Origin::File {
                path: path.to_owned(),
                line: row.line,
            };
            self.put(&row.key, text, origin)?;
        }
        Ok(())
    }

    fn environment(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let set = |name: &str| env(name).filter(|text| !text.is_empty());
        if let Some(url) = set("DATABASE_URL") {
            self.put("database.url", url, Origin::Env("DATABASE_URL".to_owned()))?;
        }
        for key in KEYS.iter() {
            if let Some(text) = set(key.env) {
                self.put(key.name, text, Origin::Env(key.env.to_owned()))?;
            }
        }
        Ok(())
    }

    // The precedence of PG* is above the files and below DATABASE_URL.
    fn is_pg(&self, env: &dyn Fn(&str) -> Option<String>) -> bool {
        let named = ["PGDATABASE", "PGHOST", "PGSERVICE"]
            .iter()
            .any(|name| env(name).is_some_and(|text| !text.is_empty()));
        let stronger = self
            .get("database.url")
            .is_some_and(|setting| matches!(setting.origin, Origin::Flag(_) | Origin::Env(_)));
        named && !stronger
    }

    fn put(&mut self, key: &str, text: String, origin: Origin) -> Result<(), ConfigError> {
        let unset_by_default = KEYS.iter().any(|k| k.name == key && k.default.is_empty());
        if text.is_empty() && unset_by_default {
            // `name = ""` unsets the setting.
            self.settings.remove(key);
            return Ok(());
        }
        if let Some(kind) = keys::kind_of(key) {
            check(kind, &text).map_err(|reason| ConfigError::Value {
                key: key.to_owned(),
                origin: origin.clone(),
                reason,
            })?;
        }
        self.settings
            .insert(key.to_owned(), Setting { text, origin });
        Ok(())
    }
}

fn check(kind: SettingType, text: &str) -> Result<(), String> {
    match kind {
        SettingType::Text | SettingType::Url | SettingType::Path => Ok(()),
        SettingType::Flag => values::flag(text).map(drop),
        SettingType::Count => values::count(text).map(drop),
        SettingType::CountTo(most) => match values::count(text)? {
            number if number > most => Err(format!("{number} is too large: the maximum is {most}")),
            _ => Ok(()),
        },
        SettingType::Positive => match values::count(text)? {
            0 => Err("must be at least 1".to_owned()),
            _ => Ok(()),
        },
        SettingType::Size => values::size(text).map(drop),
        SettingType::SizeFrom(least) => match values::size(text)? {
            bytes if bytes < least => Err(format!(
                "{text:?} is {bytes} bytes, but the minimum is {least}; write a unit, such as `16MiB`"
            )),
            _ => Ok(()),
        },
        SettingType::Memory => values::memory(text).map(drop),
        SettingType::Time => values::duration(text).map(drop),
        SettingType::Queues => values::queues(text).map(drop),
        SettingType::Schema => {
            let schema = text.parse::<pgtq_store::Schema>();
            schema.map(drop).map_err(|wrong| wrong.message)
        }
        SettingType::Choice(words) if words.contains(&text) => Ok(()),
        SettingType::Choice(words) => Err(format!("{text:?} is not one of {}", words.join(", "))),
    }
}
