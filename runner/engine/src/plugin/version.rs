//! One loaded version of a plugin, and the attempts that still run on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use pgtq_task::{Attempt, Digest, Grant, Handler, HandlerFuture, HandlerInfo, LimitCut, Name};

/// A version that serves, or has served. Its handlers and every attempt in progress hold
/// it; dropping the last handle frees its code.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) file: String,
    pub(super) digest: Option<Digest>,
    attempts: AtomicUsize,
}

impl Version {
    pub(super) fn new(file: &str, digest: Option<Digest>) -> Arc<Version> {
        Arc::new(Version {
            file: file.to_owned(),
            digest,
            attempts: AtomicUsize::new(0),
        })
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        let digest = self.digest.map(|digest| digest.short());
        tracing::info!(
            file = self.file,
            digest,
            "plugin version is drained and freed"
        );
    }
}

/// An older version that attempts still run on.
#[derive(Debug, Clone)]
pub struct Draining {
    digest: Option<Digest>,
    version: Weak<Version>,
}

impl Draining {
    pub(super) fn new(version: &Arc<Version>) -> Draining {
        Draining {
            digest: version.digest,
            version: Arc::downgrade(version),
        }
    }

    /// Its digest; none for handlers that come from no file.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether any handle to it is left.
    pub(super) fn is_over(&self) -> bool {
        self.version.strong_count() == 0
    }

    /// Number of attempts that run on it now.
    pub fn attempts(&self) -> usize {
        self.version
            .upgrade()
            .map_or(0, |version| version.attempts.load(Ordering::Relaxed))
    }
}

impl serde::Serialize for Draining {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Draining", 2)?;
        fields.serialize_field("digest", &self.digest.map(|digest| digest.to_string()))?;
        fields.serialize_field("attempts", &self.attempts())?;
        fields.end()
    }
}

/// What a file serves: one version, and its handlers as the registry returns them.
pub(super) struct Serving {
    pub(super) version: Arc<Version>,
    pub(super) handlers: BTreeMap<Name, Arc<dyn Handler>>,
    /// The plugin's own handlers, under the same names.
    own: Vec<Arc<dyn Handler>>,
}

impl Serving {
    pub(super) fn of(version: Arc<Version>, own: Vec<Arc<dyn Handler>>) -> Serving {
        let handlers = own.iter().map(|handler| {
            let served: Arc<dyn Handler> = Arc::new(CountedHandler {
                handler: Arc::clone(handler),
                version: Arc::clone(&version),
            });
            (handler.info().name.clone(), served)
        });
        Serving {
            handlers: handlers.collect(),
            version,
            own,
        }
    }

    /// Renames the plugin. Attempts in progress keep the name and the grants that they
    /// started with.
    pub(super) fn rename(&mut self, plugin: &str) {
        let renamed = self.own.iter().map(|handler| {
            let renamed = handler.renamed(plugin);
            renamed.unwrap_or_else(|| Arc::clone(handler))
        });
        *self = Serving::of(Arc::clone(&self.version), renamed.collect());
    }
}

/// A handler as the registry returns it: the plugin's own, plus a count of the attempts
/// in progress.
struct CountedHandler {
    handler: Arc<dyn Handler>,
    version: Arc<Version>,
}

impl Handler for CountedHandler {
    fn info(&self) -> &HandlerInfo {
        self.handler.info()
    }

    fn digest(&self) -> Option<Digest> {
        self.version.digest
    }

    fn cut(&self) -> LimitCut {
        self.handler.cut()
    }

    fn grant(&self) -> Arc<Grant> {
        self.handler.grant()
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        let running = RunningAttempt::on(&self.version);
        let call = self.handler.call(attempt);
        Box::pin(async move {
            // Dropped last, whether the attempt ends or its future is dropped.
            let _running = running;
            call.await
        })
    }
}

/// Counts one attempt until dropped.
struct RunningAttempt(Arc<Version>);

impl RunningAttempt {
    fn on(version: &Arc<Version>) -> RunningAttempt {
        version.attempts.fetch_add(1, Ordering::Relaxed);
        RunningAttempt(Arc::clone(version))
    }
}

impl Drop for RunningAttempt {
    fn drop(&mut self) {
        self.0.attempts.fetch_sub(1, Ordering::Relaxed);
    }
}
