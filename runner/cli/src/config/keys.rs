//! All settings: name, environment variable, form, default.

use std::sync::LazyLock;

use pgtq_task::{LimitField, LimitUnit, Limits};

/// How the text of a setting is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A connection URL: printed without its password.
    Url,
    /// A file or directory; relative to the file it stands in.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count,
    /// A whole number up to this one.
    CountTo(u64),
    /// A whole number above zero.
    Positive,
    /// Bytes, with a unit.
    Size,
    /// Bytes, with a unit, not less than this many.
    SizeFrom(u64),
    /// Bytes that a WebAssembly memory can have.
    Memory,
    /// A duration, with a unit.
    Time,
    /// `media=4,default=8,*`.
    Queues,
    /// A Postgres schema name.
    Schema,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.name` as in `pgtq.toml`.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// How it is read.
    pub kind: Kind,
    /// Its default as text; empty means unset.
    pub default: &'static str,
    /// One line for `config init` and README.
    pub help: &'static str,
}

/// Settings, one per row.
macro_rules! keys {
    ($(#[$doc:meta])* $list:ident: $($name:literal, $env:literal, $kind:ident $(($words:expr))?, $default:literal, $help:literal;)*) => {
        $(#[$doc])*
        const $list: &[Key] = &[$(Key {
            name: $name,
            env: $env,
            kind: Kind::$kind $(($words))?,
            default: $default,
            help: $help,
        }),*];
    };
}

/// All settings, section by section. `[limits]` and `[caps]` come from [`Limits::FIELDS`].
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let limits = Limits::FIELDS.iter().map(limit);
    let caps = Limits::FIELDS.iter().map(cap);
    let first = FIRST.iter().copied().chain(limits);
    first
        .chain(MIDDLE.iter().copied())
        .chain(caps)
        .chain(LAST.iter().copied())
        .collect()
});

/// `limits.NAME`: the default of one limit.
fn limit(field: &LimitField) -> Key {
    let default = field.text(&Limits::default());
    limit_key("limits", field, default, field.what.to_owned())
}

/// `caps.NAME`: the largest value of one limit. Unset, it follows from the limit.
fn cap(field: &LimitField) -> Key {
    let follows = match field.cap_factor {
        1 => format!("limits.{}", field.name),
        factor => format!("{factor} times limits.{}", field.name),
    };
    let help = format!("maximum of `{}`; unset is {follows}", field.name);
    limit_key("caps", field, String::new(), help)
}

/// The texts of the table live as long as the program.
fn limit_key(section: &str, field: &LimitField, default: String, help: String) -> Key {
    let kind = match field.unit {
        LimitUnit::Count => Kind::CountTo(field.maximum),
        LimitUnit::Bytes => Kind::Size,
        LimitUnit::BytesFrom(least) => Kind::SizeFrom(least),
        LimitUnit::Memory => Kind::Memory,
        LimitUnit::Time => Kind::Time,
    };
    let name = format!("{section}.{}", field.name);
    let env = format!("PGTQ_{}", name.replace('.', "_").to_uppercase());
    Key {
        name: name.leak(),
        env: env.leak(),
        kind,
        default: default.leak(),
        help: help.leak(),
    }
}

keys! {
    /// The settings before `[limits]`.
    FIRST:
    "database.url", "PGTQ_DATABASE_URL", Url, "", "where the tasks live";
    "database.listen_url", "PGTQ_LISTEN_URL", Url, "", "where to LISTEN when the other address is a pooler's";
    "database.schema", "PGTQ_SCHEMA", Schema, "pgtq", "the Postgres schema of all tables";
    "database.poll_only", "PGTQ_POLL_ONLY", Flag, "false", "no LISTEN: for poolers in transaction mode";
    "database.connect_timeout", "PGTQ_CONNECT_TIMEOUT", Time, "10s", "how long a connection may take";

    "run.name", "PGTQ_NAME", Text, "", "this runner's name; unset is host and process id";
    "run.queues", "PGTQ_QUEUES", Queues, "*", "queues and their slots";
    "run.concurrency", "PGTQ_CONCURRENCY", Count, "", "attempts at once; unset is four per processor";
    "run.listen", "PGTQ_LISTEN", Text, "", "address for health and metrics; unset is none";
    "run.migrate", "PGTQ_MIGRATE", Choice(&["auto", "never"]), "never", "create or update the schema at start";
    "run.shutdown_timeout", "PGTQ_SHUTDOWN_TIMEOUT", Time, "8s", "time that running attempts get after SIGTERM";
    "run.max_crashes", "PGTQ_MAX_CRASHES", Count, "3", "runners that may die under a task before it fails";

    "plugins.dir", "PGTQ_PLUGINS", Path, "plugins", "the directory of .wasm files";
    "plugins.watch", "PGTQ_WATCH", Choice(&["events", "poll", "off"]), "events", "how changes are noticed; poll for network file systems";
    "plugins.rescan", "PGTQ_RESCAN", Time, "3s", "how often the directory is read in any case";
    "plugins.cache", "PGTQ_CACHE", Path, "", "directory of compiled code; unset is the user's cache";
    "plugins.allocator", "PGTQ_ALLOCATOR", Choice(&["pooling", "on-demand"]), "pooling", "how instances get their memory";
    "plugins.zero_stacks", "PGTQ_ZERO_STACKS", Flag, "false", "clear stacks between attempts, against a bug of the compiler";
    "plugins.max_file", "PGTQ_MAX_FILE", Size, "32MiB", "the largest plugin file";
    "plugins.compile_timeout", "PGTQ_COMPILE_TIMEOUT", Time, "2m", "processor time for compiling one plugin";
    "plugins.compile_memory", "PGTQ_COMPILE_MEMORY", Size, "1GiB", "how much memory compiling one plugin may take";
}

keys! {
    /// A limit that is not per attempt.
    MIDDLE:
    "limits.waiting", "PGTQ_LIMITS_WAITING", Positive, "1M", "tasks that may wait for one plugin before plugins may push no more to it";
}

keys! {
    /// The settings after `[caps]`.
    LAST:
    "http.proxy", "PGTQ_HTTP_PROXY", Url, "", "proxy for HTTP requests of plugins to names: http://HOST:PORT";

    "retention.history", "PGTQ_RETENTION", Time, "7 days", "how long finished tasks are kept";
    "retention.failed", "PGTQ_RETENTION_FAILED", Time, "", "how long failed tasks are kept, if longer; unset is retention.history";

    "cli.read_only", "PGTQ_READ_ONLY", Flag, "false", "refuse every command that changes tasks";
}

/// Settings of `[handlers.NAME]`: the operator's word over the handler's own.
pub const HANDLER_KEYS: &[(&str, Kind)] = &[
    ("fuel", Kind::Count),
    ("timeout", Kind::Time),
    ("memory", Kind::Memory),
];

/// Settings of `[queues.NAME]`.
pub const QUEUE_KEYS: &[(&str, Kind)] = &[("concurrency", Kind::Count)];

/// Sections that are no settings of one line: [`super::Grants`].
pub const STRUCTURED: &[&str] = &["grants", "secrets"];

/// The form of `name`, if such a setting exists. Handles the open sections.
pub fn kind_of(name: &str) -> Option<Kind> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Some(key.kind);
    }
    let (section, field) = name.rsplit_once('.')?;
    let fields = match section.split_once('.') {
        Some(("handlers", _)) => HANDLER_KEYS,
        Some(("queues", _)) => QUEUE_KEYS,
        _ => return None,
    };
    fields
        .iter()
        .find(|(known, _)| *known == field)
        .map(|(_, kind)| *kind)
}

/// Known names that a wrong `name` may have meant.
pub fn similar(name: &str) -> Option<String> {
    let (section, field) = name.rsplit_once('.').unwrap_or(("", name));
    let open: &[(&str, Kind)] = match section.split_once('.') {
        Some(("handlers", _)) => HANDLER_KEYS,
        Some(("queues", _)) => QUEUE_KEYS,
        _ => &[],
    };
    if section.is_empty() {
        let sections = KEYS.iter().filter_map(|key| key.name.split('.').next());
        let open = ["handlers", "queues"].into_iter();
        return closest(name, sections.chain(open).chain(STRUCTURED.iter().copied()));
    }
    let mut candidates: Vec<String> = open
        .iter()
        .map(|(known, _)| format!("{section}.{known}"))
        .collect();
    candidates.extend(KEYS.iter().map(|key| key.name.to_owned()));
    // The right field in the wrong section is the more likely slip.
    let elsewhere = KEYS.iter().find(|key| {
        key.name
            .rsplit_once('.')
            .is_some_and(|(_, known)| known == field)
    });
    closest(name, candidates.iter().map(String::as_str))
        .or_else(|| elsewhere.map(|key| key.name.to_owned()))
}

/// The candidate that looks most like `text`, if one looks like it at all.
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(text.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
