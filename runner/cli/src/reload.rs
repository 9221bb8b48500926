//! Grants and secrets follow their files while a runner runs.
//!
//! The files are looked at once a second rather than watched by events: they are
//! few, and a look notices a swapped link, another disk, and a file that was not
//! there before. What stands in them counts when two looks found them alike, so
//! that half a file is not taken for a whole one. SIGHUP looks at once. A file
//! that is wrong changes nothing.

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

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// All files with what changes when their text may have changed: device, inode,
/// size, and both times. `None` for a file that is not there.
type Stamps = Vec<(PathBuf, Option<[i64; 7]>)>;

/// Watches the configuration files until the process ends. Attempts that begin after a change
/// have the new grants.
pub(crate) async fn follow(mut follower: Follower) {
    // Under a terminal the signal says that the terminal is gone, and ends the
    // process as it always did.
    let mut hangup = match std::io::stdin().is_terminal() {
        true => None,
        false => signal(SignalKind::hangup()).ok(),
    };
    // Nothing is known: what changed since the configuration was read is found
    // by the first looks.
    let mut known = Stamps::new();
    let mut seen = Stamps::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            () = next(&mut hangup) => true,
        };
        let now = follower.stamps().await;
        if asked || (now == seen && now != known) {
            follower.reload(asked).await;
            // Files of secrets may be others now.
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

/// What is followed, and what follows.
pub(crate) struct Follower {
    /// As it was read last without a mistake.
    pub(crate) config: Arc<Config>,
    /// As the runner was started with: what is in force but for grants and secrets.
    pub(crate) started: Arc<Config>,
    /// Settings that differ from those, and wait for a restart.
    pub(crate) pending: Vec<String>,
    /// Secrets that had no value then.
    pub(crate) missing: Vec<MissingSecret>,
    /// What the sandbox reads.
    pub(crate) grants: Arc<ArcSwap<GrantBook>>,
    /// Plugins whose needs are told again when their grants change.
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
                tracing::error!("the configuration is wrong, the old grants stay: {error}");
                return;
            }
            Err(panic) => {
                tracing::error!(%panic, "could not read the configuration, the old grants stay");
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
            tracing::info!("configuration reloaded; grants and secrets are as they were");
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

    /// Other settings are read at the start only; logs which ones differ now.
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
            true => tracing::info!("the settings are as at the start again; no restart is needed"),
            false => tracing::info!(
                "changed in the configuration, and in force after a restart: {}",
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
