//! The table of all settings: name, environment variable, type and default.

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
pub struct Key {
    /// `section.name` as in `pgtq.toml`.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its default as text; empty means unset.
    pub default: &'static str,
    /// The comment in the file of `config init`.
    pub help: &'static str,
}

/// One line per setting, so that the table is readable by columns.
macro_rules! keys {
    ($(#[$doc:meta])* $($name:literal, $env:literal, $kind:ident $(($words:expr))?, $default:literal, $help:literal;)*) => {
        $(#[$doc])*
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            env: $env,
            kind: Kind::$kind $(($words))?,
            default: $default,
            help: $help,
        }),*];
    };
}

keys! {
    /// All settings, by section. The defaults of limits repeat `Limits::default()`; a test
    /// compares them. The defaults of caps depend on the limits: `Limits::cap()`.
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

    "limits.fuel", "PGTQ_LIMITS_FUEL", Count, "10G", "WebAssembly instructions per attempt";
    "limits.timeout", "PGTQ_LIMITS_TIMEOUT", Time, "30s", "wall-clock time per attempt";
    "limits.memory", "PGTQ_LIMITS_MEMORY", Memory, "64MiB", "memory of the plugin per attempt";
    "limits.table_elements", "PGTQ_LIMITS_TABLE_ELEMENTS", Count, "20k", "table elements per attempt";
    "limits.host_bytes", "PGTQ_LIMITS_HOST_BYTES", SizeFrom(1 << 20), "16MiB", "memory of the host per attempt, in addition to limits.memory";
    "limits.call_bytes", "PGTQ_LIMITS_CALL_BYTES", Size, "4MiB", "bytes that one host call can transfer";
    "limits.result_bytes", "PGTQ_LIMITS_RESULT_BYTES", Size, "1MiB", "bytes of a result";
    "limits.log_lines", "PGTQ_LIMITS_LOG_LINES", Count, "1k", "log lines kept per attempt";
    "limits.log_bytes", "PGTQ_LIMITS_LOG_BYTES", Size, "1MiB", "bytes of log kept per attempt";
    "limits.pushes", "PGTQ_LIMITS_PUSHES", Count, "1k", "child tasks per attempt";
    "limits.lanes", "PGTQ_LIMITS_LANES", Count, "100", "distinct lanes (queue, handler and priority) of the child tasks of an attempt";
    "limits.http_requests", "PGTQ_LIMITS_HTTP_REQUESTS", Count, "100", "HTTP requests per attempt";
    "limits.http_bytes", "PGTQ_LIMITS_HTTP_BYTES", Size, "64MiB", "bytes of HTTP per attempt, in both directions";
    "limits.tcp_connections", "PGTQ_LIMITS_TCP_CONNECTIONS", Count, "20", "TCP connections per attempt";
    "limits.tcp_bytes", "PGTQ_LIMITS_TCP_BYTES", Size, "64MiB", "bytes of TCP per attempt, in both directions";
    "limits.sql_statements", "PGTQ_LIMITS_SQL_STATEMENTS", Count, "10k", "SQL statements per attempt";
    "limits.sql_rows", "PGTQ_LIMITS_SQL_ROWS", Count, "10k", "rows of one SQL result";
    "limits.sql_bytes", "PGTQ_LIMITS_SQL_BYTES", Size, "4MiB", "bytes of one SQL result";
    "limits.state_bytes", "PGTQ_LIMITS_STATE_BYTES", Size, "1MiB", "bytes that a task can save for later attempts";
    "limits.file_bytes", "PGTQ_LIMITS_FILE_BYTES", Size, "64MiB", "bytes written to files per attempt";
    "limits.waiting", "PGTQ_LIMITS_WAITING", Positive, "1M", "waiting tasks of one plugin above which plugins cannot push to it";

    "caps.fuel", "PGTQ_CAPS_FUEL", Count, "", "maximum fuel that a handler can request; if unset, four times limits.fuel";
    "caps.timeout", "PGTQ_CAPS_TIMEOUT", Time, "", "maximum time that a handler can request; if unset, four times limits.timeout";
    "caps.memory", "PGTQ_CAPS_MEMORY", Memory, "", "maximum memory that a handler can request; if unset, four times limits.memory";
    "caps.table_elements", "PGTQ_CAPS_TABLE_ELEMENTS", Count, "", "maximum table elements; if unset, limits.table_elements";
    "caps.host_bytes", "PGTQ_CAPS_HOST_BYTES", SizeFrom(1 << 20), "", "maximum memory of the host per attempt; if unset, limits.host_bytes";
    "caps.call_bytes", "PGTQ_CAPS_CALL_BYTES", Size, "", "maximum bytes of one host call; if unset, limits.call_bytes";
    "caps.result_bytes", "PGTQ_CAPS_RESULT_BYTES", Size, "", "maximum bytes of a result; if unset, limits.result_bytes";
    "caps.log_lines", "PGTQ_CAPS_LOG_LINES", Count, "", "maximum log lines kept; if unset, limits.log_lines";
    "caps.log_bytes", "PGTQ_CAPS_LOG_BYTES", Size, "", "maximum bytes of log kept; if unset, limits.log_bytes";
    "caps.pushes", "PGTQ_CAPS_PUSHES", Count, "", "maximum child tasks; if unset, limits.pushes";
    "caps.lanes", "PGTQ_CAPS_LANES", Count, "", "maximum lanes of child tasks; if unset, limits.lanes";
    "caps.http_requests", "PGTQ_CAPS_HTTP_REQUESTS", Count, "", "maximum HTTP requests; if unset, limits.http_requests";
    "caps.http_bytes", "PGTQ_CAPS_HTTP_BYTES", Size, "", "maximum bytes of HTTP; if unset, limits.http_bytes";
    "caps.tcp_connections", "PGTQ_CAPS_TCP_CONNECTIONS", Count, "", "maximum TCP connections; if unset, limits.tcp_connections";
    "caps.tcp_bytes", "PGTQ_CAPS_TCP_BYTES", Size, "", "maximum bytes of TCP; if unset, limits.tcp_bytes";
    "caps.sql_statements", "PGTQ_CAPS_SQL_STATEMENTS", Count, "", "maximum SQL statements; if unset, limits.sql_statements";
    "caps.sql_rows", "PGTQ_CAPS_SQL_ROWS", Count, "", "maximum rows of one SQL result; if unset, limits.sql_rows";
    "caps.sql_bytes", "PGTQ_CAPS_SQL_BYTES", Size, "", "maximum bytes of one SQL result; if unset, limits.sql_bytes";
    "caps.state_bytes", "PGTQ_CAPS_STATE_BYTES", Size, "", "maximum bytes saved for later attempts; if unset, limits.state_bytes";
    "caps.file_bytes", "PGTQ_CAPS_FILE_BYTES", Size, "", "maximum bytes written to files; if unset, limits.file_bytes";

    "http.proxy", "PGTQ_HTTP_PROXY", Url, "", "proxy for HTTP requests of plugins to host names: http://HOST:PORT";

    "retention.history", "PGTQ_RETENTION", Time, "7 days", "how long to keep finished tasks";
    "retention.failed", "PGTQ_RETENTION_FAILED", Time, "", "how long to keep failed tasks, if longer; if unset, retention.history";

    "cli.read_only", "PGTQ_READ_ONLY", Flag, "false", "reject commands that change tasks";
}

/// Settings of `[handlers.NAME]`, which override the limits that the handler requests.
pub const HANDLER_KEYS: &[(&str, Kind)] = &[
    ("fuel", Kind::Count),
    ("timeout", Kind::Time),
    ("memory", Kind::Memory),
];

/// Settings of `[queues.NAME]`.
pub const QUEUE_KEYS: &[(&str, Kind)] = &[("concurrency", Kind::Count)];

/// Sections with structured values: [`super::Grants`].
pub const STRUCTURED: &[&str] = &["grants", "secrets"];

/// The type of the setting `name`, if it exists, including those of `[handlers.NAME]` and
/// `[queues.NAME]`.
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

/// The known setting that is most similar to the unknown `name`.
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
