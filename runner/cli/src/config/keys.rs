//! The table of all settings: name, environment variable, type and default.

use std::sync::LazyLock;

use pgtq_task::{LimitField, LimitUnit, Limits};

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingType {
    /// Any text.
    Text,
    /// A connection URL: printed without its password.
    Url,
    /// A file or directory, relative to the configuration file.
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
    /// Bytes, with a unit and a minimum.
    SizeFrom(u64),
    /// Bytes of a WebAssembly memory.
    Memory,
    /// A duration, with a unit.
    Time,
    /// `media=4,default=8,*`.
    Queues,
    /// A Postgres schema name.
    Schema,
    /// One of these values.
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct SettingKey {
    /// `section.name` as in `pgtq.toml`.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its type.
    pub kind: SettingType,
    /// Its default as text; empty means unset.
    pub default: &'static str,
    /// The comment in the file of `config init`.
    pub help: &'static str,
}

/// Settings, one per row.
macro_rules! keys {
    ($(#[$doc:meta])* $list:ident: $($name:literal, $env:literal, $kind:ident $(($words:expr))?, $default:literal, $help:literal;)*) => {
        $(#[$doc])*
        const $list: &[SettingKey] = &[$(SettingKey {
            name: $name,
            env: $env,
            kind: SettingType::$kind $(($words))?,
            default: $default,
            help: $help,
        }),*];
    };
}

/// All settings, section by section. `[limits]` and `[caps]` come from [`Limits::FIELDS`].
pub static KEYS: LazyLock<Vec<SettingKey>> = LazyLock::new(|| {
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
fn limit(field: &LimitField) -> SettingKey {
    let default = field.text(&Limits::default());
    limit_key("limits", field, default, field.what.to_owned())
}

/// `caps.NAME`: the largest value of one limit. Unset, it follows from the limit.
fn cap(field: &LimitField) -> SettingKey {
    let follows = match field.cap_factor {
        1 => format!("limits.{}", field.name),
        factor => format!("{factor} times limits.{}", field.name),
    };
    let help = format!("maximum of `{}`; unset is {follows}", field.name);
    limit_key("caps", field, String::new(), help)
}

/// The texts of the table live as long as the program.
fn limit_key(section: &str, field: &LimitField, default: String, help: String) -> SettingKey {
    let kind = match field.unit {
        LimitUnit::Count => SettingType::CountTo(field.maximum),
        LimitUnit::Bytes => SettingType::Size,
        LimitUnit::BytesFrom(least) => SettingType::SizeFrom(least),
        LimitUnit::Memory => SettingType::Memory,
        LimitUnit::Time => SettingType::Time,
    };
    let name = format!("{section}.{}", field.name);
    let env = format!("PGTQ_{}", name.replace('.', "_").to_uppercase());
    SettingKey {
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
    "database.url", "PGTQ_DATABASE_URL", Url, "", "Postgres connection URL";
    "database.listen_url", "PGTQ_LISTEN_URL", Url, "", "connection URL for LISTEN if database.url points to a pooler";
    "database.schema", "PGTQ_SCHEMA", Schema, "pgtq", "Postgres schema that contains the queue";
    "database.poll_only", "PGTQ_POLL_ONLY", Flag, "false", "do not use LISTEN, for connection poolers in transaction mode";
    "database.connect_timeout", "PGTQ_CONNECT_TIMEOUT", Time, "10s", "time limit for opening a connection";

    "run.name", "PGTQ_NAME", Text, "", "name of the runner; if unset, the host name and process id";
    "run.queues", "PGTQ_QUEUES", Queues, "*", "queues and their slots";
    "run.concurrency", "PGTQ_CONCURRENCY", Count, "", "concurrent attempts in queues without a number of slots; if unset, four per processor";
    "run.listen", "PGTQ_LISTEN", Text, "", "address for /healthz, /readyz and /metrics; if unset, none";
    "run.migrate", "PGTQ_MIGRATE", Choice(&["auto", "never"]), "never", "auto creates or updates the schema at startup";
    "run.shutdown_timeout", "PGTQ_SHUTDOWN_TIMEOUT", Time, "8s", "time for running attempts to finish after SIGTERM";
    "run.max_crashes", "PGTQ_MAX_CRASHES", Count, "3", "number of runner crashes during its attempts after which a task fails, 1 to 1000";

    "plugins.dir", "PGTQ_PLUGINS", Path, "plugins", "directory of the plugin files";
    "plugins.watch", "PGTQ_WATCH", Choice(&["events", "poll", "off"]), "events", "how to detect changed files; poll is for network file systems";
    "plugins.rescan", "PGTQ_RESCAN", Time, "3s", "interval at which the directory is read, also with file events";
    "plugins.cache", "PGTQ_CACHE", Path, "", "directory for compiled code; if unset, in the user's cache directory";
    "plugins.allocator", "PGTQ_ALLOCATOR", Choice(&["pooling", "on-demand"]), "pooling", "how to allocate the memory of instances";
    "plugins.zero_stacks", "PGTQ_ZERO_STACKS", Flag, "false", "clear stacks between attempts, to contain compiler bugs";
    "plugins.max_file", "PGTQ_MAX_FILE", Size, "32MiB", "maximum size of a plugin file";
    "plugins.compile_timeout", "PGTQ_COMPILE_TIMEOUT", Time, "2m", "limit on processor time for compiling one plugin";
    "plugins.compile_memory", "PGTQ_COMPILE_MEMORY", Size, "1GiB", "limit on memory for compiling one plugin";
}

keys! {
    /// A limit that is not per attempt.
    MIDDLE:
    "limits.waiting", "PGTQ_LIMITS_WAITING", Positive, "1M", "waiting tasks of one plugin above which plugins cannot push to it";
}

keys! {
    /// The settings after `[caps]`.
    LAST:
    "http.proxy", "PGTQ_HTTP_PROXY", Url, "", "proxy for HTTP requests of plugins to host names: http://HOST:PORT";

    "retention.history", "PGTQ_RETENTION", Time, "7 days", "how long to keep finished tasks";
    "retention.failed", "PGTQ_RETENTION_FAILED", Time, "", "how long to keep failed tasks, if longer; if unset, retention.history";

    "cli.read_only", "PGTQ_READ_ONLY", Flag, "false", "reject commands that change tasks";
}

/// Settings of `[handlers.NAME]`, which override the limits that the handler requests.
pub const HANDLER_KEYS: &[(&str, SettingType)] = &[
    ("fuel", SettingType::Count),
    ("timeout", SettingType::Time),
    ("memory", SettingType::Memory),
];

/// Settings of `[queues.NAME]`.
pub const QUEUE_KEYS: &[(&str, SettingType)] = &[("concurrency", SettingType::Count)];

/// Sections with structured values: [`super::Grants`].
pub const STRUCTURED: &[&str] = &["grants", "secrets"];

/// The type of the setting `name`, if it exists, including those of `[handlers.NAME]` and
/// `[queues.NAME]`.
pub fn kind_of(name: &str) -> Option<SettingType> {
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

/// The known setting that is most similar to the unknown `name`.
pub fn similar(name: &str) -> Option<String> {
    let (section, field) = name.rsplit_once('.').unwrap_or(("", name));
    let open: &[(&str, SettingType)] = match section.split_once('.') {
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
    // A setting of the same name in another section.
    let elsewhere = KEYS.iter().find(|key| {
        key.name
            .rsplit_once('.')
            .is_some_and(|(_, known)| known == field)
    });
    closest(name, candidates.iter().map(String::as_str))
        .or_else(|| elsewhere.map(|key| key.name.to_owned()))
}

/// The candidate that is most similar to `text`, if one is similar enough.
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(text.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
