//! The typed configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgtq_task::{HttpProxy, LimitRequest, Limits, Name};

use super::error::ConfigError;
use super::grants::Grants;
use super::layers::Layers;
use super::origin::{Flag, Origin};
use super::queues::QueueSlots;
use super::values;

/// The source of the database connection.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseSource {
    /// A URL. It can contain a password, so `Debug` does not print it.
    Url(String),
    /// libpq's `PG*` variables.
    PgVariables,
    /// None is configured.
    None,
}

impl std::fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DatabaseSource::Url(_) => "Url(..)",
            DatabaseSource::PgVariables => "PgVariables",
            DatabaseSource::None => "None",
        })
    }
}

/// When a runner creates or updates the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateWhen {
    /// At the startup of `pgtq run`.
    Auto,
    /// Only `pgtq migrate` does.
    Never,
}

/// How changed plugin files are detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// By file events and periodic rescans.
    Events,
    /// By rescans only, because network file systems send no events.
    Poll,
    /// Not at all: the directory is read once at startup.
    Off,
}

/// The settings of a runner.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Its name.
    pub name: String,
    /// Its queues.
    pub queues: Vec<QueueSlots>,
    /// Slots of queues without a number of slots; `None` is the engine's default.
    pub concurrency: Option<u32>,
    /// Address for health and metrics.
    pub listen: Option<String>,
    /// Whether it migrates the schema at startup.
    pub migrate: MigrateWhen,
    /// Time for running attempts to finish after SIGTERM.
    pub shutdown_timeout: Duration,
    /// Number of runner crashes after which a task fails.
    pub max_crashes: u32,
    /// Directory of plugin files.
    pub plugins: PathBuf,
    /// How changes are detected.
    pub watch: WatchMode,
    /// Interval of rescans of the plugin directory.
    pub rescan: Duration,
    /// Directory for compiled code; `None` without a home directory.
    pub cache: Option<PathBuf>,
    /// Whether instances use the pooling allocator.
    pub pooling: bool,
    /// Whether pooled stacks are cleared between attempts.
    pub zero_stacks: bool,
    /// Maximum size of a plugin file in bytes.
    pub max_file: u64,
    /// Limit on processor time for compiling one plugin.
    pub compile_timeout: Duration,
    /// Limit on memory for compiling one plugin, in bytes.
    pub compile_memory: u64,
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The values as written, with their origins.
    pub layers: Layers,
    /// The database.
    pub database: DatabaseSource,
    /// The name of the schema.
    pub schema: String,
    /// Do not use LISTEN.
    pub poll_only: bool,
    /// A direct connection for LISTEN, if the database is behind a pooler.
    pub listen: DatabaseSource,
    /// Time limit for opening a connection.
    pub connect_timeout: Duration,
    /// The settings of a runner.
    pub run: RunSettings,
    /// Default limits per attempt.
    pub limits: Limits,
    /// Maximum limits that a handler can request.
    pub caps: Limits,
    /// Waiting tasks of one plugin above which plugins cannot push to it.
    pub waiting: u64,
    /// Limits of single handlers, set by the operator.
    pub handlers: BTreeMap<Name, LimitRequest>,
    /// Grants of plugins, and sources of secrets.
    pub grants: Grants,
    /// Proxy for HTTP requests of plugins to host names.
    pub http_proxy: Option<HttpProxy>,
    /// How long to keep history.
    pub retention: Duration,
    /// How long to keep failed tasks.
    pub retention_failed: Duration,
    /// Whether verbs that change tasks are rejected.
    pub read_only: bool,
    place: ConfigSources,
}

/// The sources of a configuration, for a reload.
#[derive(Debug, Clone, Default)]
struct ConfigSources {
    flags: Vec<Flag>,
    explicit: Option<PathBuf>,
    start: PathBuf,
}

impl Config {
    /// Reads files and environment. `explicit` is the file of `--config`: then no other file
    /// is read. The search for `pgtq.toml` begins at `start`.
    pub fn load(
        flags: &[Flag],
        explicit: Option<&Path>,
        start: &Path,
    ) -> Result<Config, ConfigError> {
        let env = |name: &str| std::env::var(name).ok();
        let files = files(explicit, start, &env)?;
        let layers = Layers::merge(flags, &env, &files)?;
        let mut config = Config::from_layers(layers, &env)?;
        config.place = ConfigSources {
            flags: flags.to_vec(),
            explicit: explicit.map(Path::to_owned),
            start: start.to_owned(),
        };
        Ok(config)
    }

    /// Reads all sources again. Blocks on the disk.
    pub fn reload(&self) -> Result<Config, ConfigError> {
        let ConfigSources {
            flags,
            explicit,
            start,
        } = &self.place;
        Config::load(flags, explicit.as_deref(), start)
    }

    /// The files that [`Config::reload`] would read, and the files of secrets, for a watcher.
    pub fn watched(&self) -> Vec<PathBuf> {
        let env = |name: &str| std::env::var(name).ok();
        let mut found = paths(self.place.explicit.as_deref(), &self.place.start, &env);
        found.extend(self.grants.secret_files().map(Path::to_owned));
        found
    }

    /// The typed form of `layers`.
    pub fn from_layers(
        layers: Layers,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let at = LayerReader(&layers);
        let database = match layers.get("database.url") {
            _ if layers.pg_variables => DatabaseSource::PgVariables,
            Some(url) if !url.text.is_empty() => DatabaseSource::Url(url.text.clone()),
            _ => DatabaseSource::None,
        };
        let concurrency = match at.text("run.concurrency") {
            "" => None,
            _ => Some(at.small("run.concurrency")?.max(1)),
        };
        let mut queues = at.read("run.queues", values::queues)?;
        for (key, _) in layers.iter() {
            let Some(name) = key
                .strip_prefix("queues.")
                .and_then(|rest| rest.strip_suffix(".concurrency"))
            else {
                continue;
            };
            let queue = Some(at.name(key, name)?);
            let slots = Some(at.small(key)?.max(1));
            let serves_all = queues.iter().any(|spec| spec.queue.is_none());
            match queues.iter_mut().find(|spec| spec.queue == queue) {
                Some(spec) if spec.slots.is_none() => spec.slots = slots,
                Some(_) => {}
                None if serves_all => queues.push(QueueSlots { queue, slots }),
                // `run.queues` does not include this queue.
                None => {}
            }
        }
        let run = RunSettings {
            name: match at.text("run.name") {
                "" => format!("{}-{}", pgtq_engine::host_name(), std::process::id()),
                name => name.to_owned(),
            },
            queues,
            concurrency,
            listen: Some(at.text("run.listen").to_owned()).filter(|text| !text.is_empty()),
            migrate: match at.text("run.migrate") {
                "auto" => MigrateWhen::Auto,
                _ => MigrateWhen::Never,
            },
            shutdown_timeout: at.read("run.shutdown_timeout", values::duration)?,
            max_crashes: at.read("run.max_crashes", values::crashes)?,
            plugins: PathBuf::from(at.text("plugins.dir")),
            watch: match at.text("plugins.watch") {
                "poll" => WatchMode::Poll,
                "off" => WatchMode::Off,
                _ => WatchMode::Events,
            },
            rescan: at.read("plugins.rescan", values::duration)?,
            cache: match at.text("plugins.cache") {
                "" => {
                    user_dir(env, "XDG_CACHE_HOME", ".cache").map(|dir| dir.join("pgtq/compiled"))
                }
                dir => Some(PathBuf::from(dir)),
            },
            pooling: at.text("plugins.allocator") == "pooling",
            zero_stacks: at.read("plugins.zero_stacks", values::flag)?,
            max_file: at.read("plugins.max_file", values::size)?,
            compile_timeout: at.read("plugins.compile_timeout", values::duration)?,
            compile_memory: at.read("plugins.compile_memory", values::size)?,
        };
        let limits = at.limits("limits", &Limits::default())?;
        Ok(Config {
            database,
            schema: at.text("database.schema").to_owned(),
            listen: match at.text("database.listen_url") {
                "" => DatabaseSource::None,
                url => DatabaseSource::Url(url.to_owned()),
            },
            poll_only: at.read("database.poll_only", values::flag)?,
            connect_timeout: at.read("database.connect_timeout", values::duration)?,
            run,
            caps: at.limits("caps", &limits.cap())?,
            limits,
            waiting: at.read("limits.waiting", values::count)?,
            handlers: at.handlers()?,
            http_proxy: match at.text("http.proxy") {
                "" => None,
                _ => Some(at.read("http.proxy", str::parse)?),
            },
            retention: at.read("retention.history", values::duration)?,
            retention_failed: match at.text("retention.failed") {
                "" => at.read("retention.history", values::duration)?,
                _ => at.read("retention.failed", values::duration)?,
            },
            read_only: at.read("cli.read_only", values::flag)?,
            grants: layers.grants.clone(),
            place: ConfigSources::default(),
            layers,
        })
    }
}

struct LayerReader<'a>(&'a Layers);

impl LayerReader<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |setting| &setting.text)
    }

    fn read<T>(&self, key: &str, form: fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        form(self.text(key)).map_err(|reason| self.wrong(key, reason))
    }

    fn small(&self, key: &str) -> Result<u32, ConfigError> {
        let wide = self.read(key, values::count)?;
        u32::try_from(wide).map_err(|_| self.wrong(key, format!("{wide} is too large")))
    }

    fn name(&self, key: &str, name: &str) -> Result<Name, ConfigError> {
        Name::new(name).map_err(|error| self.wrong(key, error.to_string()))
    }

    fn wrong(&self, key: &str, reason: String) -> ConfigError {
        ConfigError::Value {
            key: key.to_owned(),
            origin: self
                .0
                .get(key)
                .map_or(Origin::Default, |setting| setting.origin.clone()),
            reason,
        }
    }

    /// The limits of a section; `unset` for those that it does not set.
    fn limits(&self, section: &str, unset: &Limits) -> Result<Limits, ConfigError> {
        let mut limits = unset.clone();
        for field in Limits::FIELDS {
            let key = format!("{section}.{}", field.name);
            if !self.text(&key).is_empty() {
                field.set(&mut limits, self.read(&key, values::limit(field.unit))?);
            }
        }
        Ok(limits)
    }

    fn handlers(&self) -> Result<BTreeMap<Name, LimitRequest>, ConfigError> {
        let mut handlers: BTreeMap<Name, LimitRequest> = BTreeMap::new();
        for (key, _) in self.0.iter() {
            let Some((name, field)) = key
                .strip_prefix("handlers.")
                .and_then(|rest| rest.rsplit_once('.'))
            else {
                continue;
            };
            let asked = handlers.entry(self.name(key, name)?).or_default();
            match field {
                "fuel" => asked.fuel = Some(self.read(key, values::count)?),
                "memory" => asked.memory = Some(self.read(key, values::memory)?),
                _ => {
                    let time = self.read(key, values::duration)?;
                    asked.timeout_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                }
            }
        }
        Ok(handlers)
    }
}

fn user_dir(env: &dyn Fn(&str) -> Option<String>, xdg: &str, fallback: &str) -> Option<PathBuf> {
    let set = |name| env(name).filter(|text: &String| text.starts_with('/'));
    set(xdg)
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(fallback)))
}

/// The files to read, highest precedence first, with their text.
fn files(
    explicit: Option<&Path>,
    start: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(ConfigError::Read { path, source }),
    };
    paths(explicit, start, env).into_iter().map(read).collect()
}

/// The explicit file, whether it exists or not; otherwise those that exist.
fn paths(
    explicit: Option<&Path>,
    start: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<PathBuf> {
    let named = explicit.map(Path::to_owned).or_else(|| {
        env("PGTQ_CONFIG")
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    });
    if let Some(path) = named {
        return vec![path];
    }
    let upward = start
        .ancestors()
        .map(|dir| dir.join("pgtq.toml"))
        .find(|path| path.is_file());
    let user = user_dir(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("pgtq/config.toml"));
    let machine = Some(PathBuf::from("/etc/pgtq/pgtq.toml"));
    [upward, user, machine]
        .into_iter()
        .flatten()
        .filter(|path| path.is_file())
        .collect()
}
