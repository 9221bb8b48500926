//! Inspects a plugin file without running or compiling it.

use std::collections::BTreeSet;

use crate::capability;
use crate::compile::file_form::FileForm;
use crate::compile::walk::{self, ModuleFacts};
use crate::error::LoadError;
use crate::json;
use crate::wasi;
use pgtq_task::{HandlerInfo, Name, Needs};

/// The version of the contract that this runner implements.
pub const CONTRACT: &str = pgtq_contract::VERSION;

/// Maximum number of handlers in one plugin.
const MAX_HANDLERS: usize = 1_000;
/// Maximum bytes of a handler's description and docs.
const MAX_DOCS: usize = 32 << 10;
/// Maximum number of rules, names and directories that a handler requests: each use of
/// one scans them all.
const MAX_NEEDS: usize = 1_000;
/// Maximum number of parameters of a handler, and bytes of a parameter's name.
const MAX_PARAMETERS: usize = 100;
const MAX_PARAMETER: usize = 128;
/// Maximum bytes of a handler's argument schema: it is kept while the handler serves, and
/// sent to clients that push.
const MAX_SCHEMA: usize = 64 << 10;
/// Functions that a plugin must export.
const EXPORTS: [&str; 2] = ["describe", "run"];
/// What a file declares about itself.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Inspection {
    /// Component or core module.
    pub form: FileForm,
    /// The contract version it was built against.
    pub contract: String,
    /// The interfaces it imports, by full name, sorted.
    pub imports: Vec<String>,
    /// Its handlers, in file order, without argument schemas.
    pub handlers: Vec<HandlerInfo>,
    /// The tools that made it: field, tool, version.
    pub producers: Vec<(String, String, String)>,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

/// Reads what the file declares about itself: nothing in it is executed, and the bodies
/// of its functions are not read, so a file that passes may still be invalid. Safe on any
/// bytes: time is linear in the size of the file, memory is bounded, no panic.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    let facts = walk::walk(bytes)?;
    let contract = check_contracts(&facts)?;
    if facts.form == FileForm::Component {
        check_imports(&facts.imports)?;
        let missing = EXPORTS.iter().find(|name| !facts.exports.contains(**name));
        if let Some(name) = missing {
            return Err(LoadError::MissingExport((*name).to_owned()));
        }
    }
    let handlers = read_handlers(&facts.handlers)?;
    check_handlers(&handlers)?;
    Ok(Inspection {
        form: facts.form,
        contract,
        imports: facts.imports.into_iter().collect(),
        handlers,
        producers: facts.producers,
        bytes: bytes.len() as u64,
    })
}

/// Splits `namespace:package/interface@version`.
fn split(import: &str) -> (&str, &str) {
    import.split_once('@').unwrap_or((import, ""))
}

fn check_contracts(facts: &ModuleFacts) -> Result<String, LoadError> {
    let versions = facts.imports.iter().chain(&facts.exports);
    let versions = versions.filter_map(|name| {
        let (interface, version) = split(name);
        interface.starts_with("pgtq:plugin/").then_some(version)
    });
    let mut found = None;
    for version in versions {
        check_contract(version)?;
        found.get_or_insert(version);
    }
    match (found, facts.form) {
        (Some(version), _) => Ok(version.to_owned()),
        // Imports of a module may have been optimised away; its wrapper is inspected
        // again.
        (None, FileForm::CoreModule) => Ok(CONTRACT.to_owned()),
        (None, FileForm::Component) => Err(LoadError::MissingExport("run".to_owned())),
    }
}

/// A contract is compatible if its major version is ours.
pub(crate) fn check_contract(version: &str) -> Result<(), LoadError> {
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(version) == major(CONTRACT) {
        return Ok(());
    }
    Err(LoadError::WrongContract {
        found: match version {
            "" => "(no version)".to_owned(),
            version => version.chars().take(40).collect(),
        },
        wanted: CONTRACT.to_owned(),
    })
}

fn check_imports(imports: &BTreeSet<String>) -> Result<(), LoadError> {
    let known = |import: &&String| {
        let (interface, version) = split(import);
        let is_ours = interface.starts_with("pgtq:plugin/");
        let is_linked = capability::links(interface) || wasi::links(interface);
        is_linked && (is_ours || version.starts_with("0.2."))
    };
    let unknown: Vec<String> = imports.iter().filter(|i| !known(i)).cloned().collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(LoadError::UnknownImports(unknown)),
    }
}

/// Maximum bytes of one handler in the file's own list, which has no schemas.
const MAX_RECORD_BYTES: usize = 128 << 10;

/// Reads the section `pgtq.handlers`: records of a length (4 bytes, little endian) and
/// that many bytes of JSON.
fn read_handlers(mut section: &[u8]) -> Result<Vec<HandlerInfo>, LoadError> {
    let cut = || LoadError::BadManifest("the section pgtq.handlers is cut off".to_owned());
    let (mut handlers, mut n_values) = (Vec::new(), 0);
    while !section.is_empty() {
        let (length, rest) = section.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (record, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        section = rest;
        if handlers.len() == MAX_HANDLERS {
            return Err(LoadError::TooManyHandlers(MAX_HANDLERS + 1));
        }
        if record.len() > MAX_RECORD_BYTES {
            return Err(LoadError::BadManifest(format!(
                "a record of the section pgtq.handlers has {} bytes, the limit is {MAX_RECORD_BYTES}",
                record.len()
            )));
        }
        n_values += json::n_values(record);
        json::few_values(n_values)?;
        let handler = serde_json::from_slice(record).map_err(|error| bad_manifest(&error))?;
        handlers.push(handler);
    }
    Ok(handlers)
}

/// The error for a manifest that cannot be read, most often because of a name.
pub(crate) fn bad_manifest(error: &serde_json::Error) -> LoadError {
    // The text may quote the manifest.
    let text = crate::text::clean(&error.to_string(), 500);
    match text.contains("is not a name") {
        true => LoadError::BadName(text),
        false => LoadError::BadManifest(text),
    }
}

/// Checks that apply to every list of handlers.
pub(crate) fn check_handlers(handlers: &[HandlerInfo]) -> Result<(), LoadError> {
    if handlers.is_empty() {
        return Err(LoadError::NoHandlers);
    }
    if handlers.len() > MAX_HANDLERS {
        return Err(LoadError::TooManyHandlers(handlers.len()));
    }
    handlers.iter().try_for_each(check_size)?;
    let names = sorted(handlers);
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LoadError::DuplicateHandler(pair[0].to_string())),
        None => Ok(()),
    }
}

/// Limits on the stored parts of a handler, each far above ordinary use.
fn check_size(handler: &HandlerInfo) -> Result<(), LoadError> {
    let over = |what: &str, limit: usize| {
        let name = &handler.name;
        let text = format!("handler `{name}` has {what}, at most {limit} are allowed");
        Err(LoadError::BadManifest(text))
    };
    let docs = handler.description.len() + handler.docs.len();
    if docs > MAX_DOCS {
        return over(&format!("{docs} bytes of description"), MAX_DOCS);
    }
    let n_parameters = handler.positional.len();
    if n_parameters > MAX_PARAMETERS {
        return over(&format!("{n_parameters} parameters"), MAX_PARAMETERS);
    }
    let Needs {
        http,
        tcp,
        sql: _,
        secrets,
        files,
        push,
    } = &handler.needs;
    let n_needs = http.len() + tcp.len() + secrets.len() + files.len() + push.len();
    if n_needs > MAX_NEEDS {
        return over(&format!("{n_needs} needs"), MAX_NEEDS);
    }
    let longest = handler.positional.iter().map(String::len).max();
    if let Some(bytes) = longest.filter(|bytes| *bytes > MAX_PARAMETER) {
        return over(
            &format!("a parameter's name of {bytes} bytes"),
            MAX_PARAMETER,
        );
    }
    let schema = handler
        .arguments
        .as_ref()
        .map(|schema| schema.to_string().len());
    match schema.filter(|bytes| *bytes > MAX_SCHEMA) {
        Some(bytes) => over(&format!("a schema of {bytes} bytes"), MAX_SCHEMA),
        None => Ok(()),
    }
}

/// The plugin's description must match the file's list: operators and fleets decide by
/// the list.
pub(crate) fn check_same(
    described: &[HandlerInfo],
    listed: &[HandlerInfo],
) -> Result<(), LoadError> {
    let (described_names, listed_names) = (sorted(described), sorted(listed));
    if let Some(name) = described_names.iter().find(|n| !listed_names.contains(n)) {
        return Err(LoadError::Mismatch(format!("`{name}` is not in the list")));
    }
    if let Some(name) = listed_names.iter().find(|n| !described_names.contains(n)) {
        return Err(LoadError::Mismatch(format!("`{name}` is not described")));
    }
    for handler in described {
        let twin = listed.iter().find(|other| other.name == handler.name);
        if twin.is_some_and(|twin| {
            twin.limits != handler.limits
                || twin.retry != handler.retry
                || twin.needs != handler.needs
                || twin.push != handler.push
        }) {
            return Err(LoadError::Mismatch(format!(
                "`{}` has other limits, retries, needs or defaults of pushes in the list",
                handler.name
            )));
        }
    }
    Ok(())
}

fn sorted(handlers: &[HandlerInfo]) -> Vec<&Name> {
    let mut names: Vec<&Name> = handlers.iter().map(|handler| &handler.name).collect();
    names.sort();
    names
}
