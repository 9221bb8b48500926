//! Reloads grants and secrets when their files change while a runner runs.
//!
//! Polls the files once per second instead of using file events: there are few files, and
//! polling also detects a replaced symbolic link, a new mount and a new file. Reads a
//! changed file when two polls in a row found it in the same state, so that it does not
//! read a half-written file. SIGHUP reloads immediately. An invalid file changes nothing.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::config::grants::{self, MissingSecret};
use pgtq_engine::plugin::Registry;
use pgtq_task::GrantBook;

use super::machine;

/// Interval of polls.
const POLL: Duration = Duration::from_secs(1);

/// All files with the attributes that change with their content: device, inode, size, and
/// both times. `None` for a file that does not exist.
type Stamps = Vec<(PathBuf, Option<[i64; 7]>)>;

/// Watches the configuration files until the process ends. Attempts that start after a
/// change have the new grants.
pub(crate) async fn follow(mut follower: Follower) {
    // With a terminal, SIGHUP means that the terminal was closed, and ends the process.
    let mut hangup = match std::io::stdin().is_terminal() {
        true => None,
        false => signal(SignalKind::hangup()).ok(),
    };
    // Empty, so the first polls find changes since the configuration was read.
    let mut known = Stamps::new();
    let mut seen = Stamps::new();
    let mut look = tokio::time::interval(POLL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            () = next(&mut hangup) => true,
        };
        let now = follower.stamps().await;
        if asked || (now == seen && now != known) {
            follower.reload(asked).await;
            // The list of secret files may have changed.
            known = follower.stamps().await;
            seen.clone_from(&known);
        } else {
            seen = now;
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The state of the watcher.
pub(crate) struct Follower {
    /// The last valid configuration.
    pub(crate) config: Arc<Config>,
    /// The configuration at startup: in effect except for grants and secrets.
    pub(crate) started: Arc<Config>,
    /// Settings that differ from those at startup and need a restart.
    pub(crate) pending: Vec<String>,
    /// Secrets that had no value at the last reload.
    pub(crate) missing: Vec<MissingSecret>,
    /// The grants that the sandbox uses.
    pub(crate) grants: Arc<ArcSwap<GrantBook>>,
    /// The plugins, to log denied needs again when their grants change.
    pub(crate) registry: Registry,
}

impl Follower {
    async fn stamps(&self) -> Stamps {
        let config = Arc::clone(&self.config);
        let look = move || config.watched().into_iter().map(stamp).collect();
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    async fn reload(&mut self, asked: bool) {
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || {
            config.reload().map(|config| {
                let (book, missing) = machine::grants(&config);
                (config, book, missing)
            })
        });
        let (config, book, missing) = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::error!("invalid configuration, keeping the previous grants: {error}");
                return;
            }
            Err(panic) => {
                tracing::error!(%panic, "cannot read the configuration, keeping the previous grants");
                return;
            }
        };
        let old = self.grants.swap(Arc::new(book));
        let new = self.grants.load_full();
        let changes = grants::changes(&old, &new);
        for change in &changes {
            tracing::info!("{change}");
        }
        for secret in missing
            .iter()
            .filter(|secret| !self.missing.contains(secret))
        {
            tracing::warn!("{secret}");
        }
        self.missing = missing;
        self.tell_of_others(&config);
        if changes.is_empty() && asked {
            tracing::info!("configuration reloaded, grants and secrets are unchanged");
        }
        let snapshot = self.registry.snapshot();
        for file in snapshot.plugins.iter().map(|status| &status.file) {
            let plugin = file.strip_suffix(".wasm").unwrap_or(file);
            if old.of(plugin) != new.of(plugin) {
                snapshot.warn_of_missing_grants(file);
            }
        }
        self.config = Arc::new(config);
    }

    /// Logs the settings that changed but take effect only after a restart.
    fn tell_of_others(&mut self, new: &Config) {
        let text = |config: &Config, key: &str| {
            let setting = config.layers.get(key);
            setting.map(|setting| setting.text.clone())
        };
        let both = self.started.layers.iter().chain(new.layers.iter());
        let mut changed: Vec<String> = both
            .map(|(key, _)| key)
            .filter(|key| text(&self.started, key) != text(new, key))
            .map(str::to_owned)
            .collect();
        changed.sort_unstable();
        changed.dedup();
        if changed == self.pending {
            return;
        }
        match changed.is_empty() {
            true => tracing::info!("changed settings were reverted, no restart is needed"),
            false => tracing::info!(
                "changed settings that take effect after a restart: {}",
                changed.join(", ")
            ),
        }
        self.pending = changed;
    }
}

fn stamp(path: PathBuf) -> (PathBuf, Option<[i64; 7]>) {
    let stamp = std::fs::metadata(&path).ok().map(|meta| {
        [
            meta.dev().cast_signed(),
            meta.ino().cast_signed(),
            meta.size().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ]
    });
    (path, stamp)
}
