//! Compares grants and secrets with the plugin files of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::Config;
use crate::machine;
use pgtq_setup::doctor::{Check, Status};
use pgtq_task::{HandlerInfo, PluginGrantReport, toml_key};

/// Limit on the files of the plugin directory that are checked.
const MAX_FILES: usize = 1_000;

/// Secrets without a value, grants without a plugin, and needs that are not granted. Empty
/// if there are neither grants nor needs.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let plugins = plugins(&config.run.plugins, config.run.max_file);
    let mut checks = Vec::new();
    let (book, missing) = machine::grants(config);
    for secret in &missing {
        checks.push(Check {
            name: "secrets",
            status: Status::Warn,
            detail: secret.to_string(),
            fix: Some(format!(
                "set the value, or change [secrets.{}]",
                toml_key(&secret.name)
            )),
        });
    }
    if missing.is_empty() && !book.secrets.is_empty() {
        checks.push(ok(
            "secrets",
            format!("{} have a value", book.secrets.len()),
        ));
    }
    let unused = unused_secrets(config);
    if !unused.is_empty() {
        checks.push(Check {
            name: "secrets",
            status: Status::Warn,
            detail: format!("not granted to any plugin: {}", unused.join(", ")),
            fix: Some(
                "grant them with `secrets.NAME = …` below [grants.PLUGIN], or remove them"
                    .to_owned(),
            ),
        });
    }
    let before = checks.len();
    for (plugin, granted) in &config.grants.plugins {
        if !plugins.contains_key(plugin) {
            checks.push(Check {
                name: "grants",
                status: Status::Warn,
                detail: format!(
                    "[grants.{}] ({}): there is no {plugin}.wasm in {}",
                    toml_key(plugin),
                    granted.origin,
                    config.run.plugins.display()
                ),
                fix: similar(plugin, &plugins),
            });
        }
        for (name, file) in granted
            .grant
            .files
            .iter()
            .filter(|(_, file)| !file.dir.is_dir())
        {
            checks.push(Check {
                name: "grants",
                status: Status::Warn,
                detail: format!(
                    "[grants.{}] files.{}: there is no directory {}",
                    toml_key(plugin),
                    toml_key(name),
                    file.dir.display()
                ),
                fix: Some(format!("mkdir -p {}", file.dir.display())),
            });
        }
    }
    for (plugin, handlers) in &plugins {
        let needs = handlers.iter().map(|handler| &handler.needs);
        let asked = PluginGrantReport::of(plugin, needs, &book.of(plugin));
        if let Some(asked) = asked.filter(|asked| !asked.refused.is_empty()) {
            checks.push(Check {
                name: "grants",
                status: Status::Warn,
                detail: format!(
                    "{plugin}.wasm requests capabilities that are not granted: {}",
                    asked.refused.join(", ")
                ),
                fix: Some(match asked.toml.is_empty() {
                    true => format!("pgtq inspect {plugin}.wasm"),
                    false => format!("add to pgtq.toml:\n{}", asked.toml.trim_end()),
                }),
            });
        }
    }
    if checks.len() == before && !book.plugins.is_empty() {
        checks.push(ok("grants", "no requested capability is denied".to_owned()));
    }
    checks
}

fn ok(name: &'static str, detail: String) -> Check {
    Check {
        name,
        status: Status::Ok,
        detail,
        fix: None,
    }
}

fn unused_secrets(config: &Config) -> Vec<&str> {
    let plugins = config.grants.plugins.values();
    let used: BTreeSet<&String> = plugins
        .flat_map(|granted| granted.grant.secrets.keys().chain(&granted.sql_password))
        .collect();
    let all = config.grants.secrets.keys();
    all.filter(|name| !used.contains(name))
        .map(String::as_str)
        .collect()
}

fn similar(plugin: &str, plugins: &BTreeMap<String, Vec<HandlerInfo>>) -> Option<String> {
    let known = plugins.keys().map(String::as_str);
    let near = crate::config::keys::closest(plugin, known)?;
    Some(format!("did you mean [grants.{}]?", toml_key(&near)))
}

/// Plugin files by name with their handlers. Invalid files have none: runners report them.
fn plugins(dir: &Path, max_file: u64) -> BTreeMap<String, Vec<HandlerInfo>> {
    let entries = dir.read_dir().into_iter().flatten().flatten();
    let files = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
        .filter(|path| {
            path.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.len() <= max_file)
        });
    files
        .take(MAX_FILES)
        .filter_map(|path| {
            let found = pgtq_sandbox::inspect(&machine::read(&path).ok()?);
            let name = path.file_stem()?.to_string_lossy().into_owned();
            Some((
                name,
                found.map_or_else(|_| Vec::new(), |found| found.handlers),
            ))
        })
        .collect()
}
