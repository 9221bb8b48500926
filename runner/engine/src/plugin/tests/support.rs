//! Shared by the tests of this module: native handlers, a scripted sandbox, waiting.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::plugin::directory::PluginDirectory;
use crate::plugin::options::DirectoryOptions;
use crate::plugin::registry::Registry;
use crate::plugin::snapshot::Snapshot;
use crate::plugin::stages::{LoadFuture, Stages};
use crate::plugin::status::PluginState;
use pgtq_sandbox::LoadError;
use pgtq_task::{
    Attempt, ClaimId, Digest, Handler, HandlerFuture, HandlerInfo, Manifest, Name, Outcome,
    PluginInfo, Report, RetryPolicy, Signal, Task, TaskId,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A handler whose attempts run until they are stopped.
pub(crate) struct Native(HandlerInfo);

impl Native {
    pub(crate) fn named(text: &str) -> Arc<dyn Handler> {
        Arc::new(Native(HandlerInfo {
            name: name(text),
            description: String::new(),
            docs: String::new(),
            arguments: None,
            positional: Vec::new(),
            limits: Default::default(),
            retry: RetryPolicy::default(),
            push: Default::default(),
            needs: Default::default(),
        }))
    }
}

impl Handler for Native {
    fn info(&self) -> &HandlerInfo {
        &self.0
    }

    fn digest(&self) -> Option<Digest> {
        None
    }

    fn call(&self, attempt: Attempt) -> HandlerFuture {
        Box::pin(async move {
            attempt.signal.stopped().await;
            Report::without_guest(Outcome::Release)
        })
    }
}

pub(crate) fn attempt() -> (Attempt, Arc<Signal>) {
    let signal = Arc::new(Signal::default());
    let task = Task {
        id: TaskId(1),
        queue: Name::default_queue(),
        handler: name("x"),
        priority: 0,
        args: "{}".into(),
        attempts: 0,
        crashes: 0,
        retries: None,
        pushed_at: jiff::Timestamp::UNIX_EPOCH,
        due_at: jiff::Timestamp::UNIX_EPOCH,
        key: None,
        parent: None,
        traits: None,
    };
    let attempt = Attempt {
        task: Arc::new(task),
        claim: ClaimId(1),
        signal: Arc::clone(&signal),
        database: Arc::new(pgtq_task::NoDatabase),
    };
    (attempt, signal)
}

/// Replaces the sandbox in tests that control the compiler's results. Accepts files of
/// the form `plugin <version> <handler>... end`.
#[derive(Default)]
pub(crate) struct ScriptedSandbox {
    pub(crate) compiled: Arc<Mutex<Vec<String>>>,
    pub(crate) unlucky: Mutex<Option<(String, LoadError)>>,
    /// Compiles until it is dropped.
    pub(crate) stuck: bool,
}

impl ScriptedSandbox {
    /// Fails with `error` the first time a file that contains `word` is compiled.
    pub(crate) fn unlucky(word: &str, error: LoadError) -> ScriptedSandbox {
        ScriptedSandbox {
            unlucky: Mutex::new(Some((word.to_owned(), error))),
            ..ScriptedSandbox::default()
        }
    }
}

impl Stages for ScriptedSandbox {
    fn max_file_bytes(&self) -> u64 {
        1000
    }

    fn inspect(&self, bytes: &[u8]) -> Result<Vec<Name>, LoadError> {
        let text = String::from_utf8_lossy(bytes);
        let truncated = || LoadError::Truncated {
            at: bytes.len() as u64,
        };
        let words = text.strip_prefix("plugin ").ok_or(LoadError::NotWasm)?;
        let words = words.strip_suffix(" end").ok_or_else(truncated)?;
        Ok(words.split(' ').skip(1).map(name).collect())
    }

    fn load(
        &self,
        _plugin: &str,
        bytes: Arc<[u8]>,
        _digest: Digest,
        probing: Box<dyn FnOnce() + Send>,
    ) -> LoadFuture {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let names = self.inspect(&bytes);
        let mut unlucky = self.unlucky.lock().expect("not poisoned");
        let unlucky = unlucky.take_if(|(word, _)| text.contains(word.as_str()));
        let compiled = Arc::clone(&self.compiled);
        let stuck = self.stuck;
        Box::pin(async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            let names = names?;
            if let Some((_, error)) = unlucky {
                return Err(error);
            }
            let version = text.split(' ').nth(1).unwrap_or_default().to_owned();
            compiled.lock().expect("not poisoned").push(version.clone());
            probing();
            let handlers: Vec<_> = names.iter().map(|n| Native::named(n.as_str())).collect();
            let manifest = Manifest {
                contract: "1.0.0".into(),
                plugin: PluginInfo {
                    name: "scripted".into(),
                    version,
                },
                handlers: handlers.iter().map(|h| h.info().clone()).collect(),
            };
            Ok((manifest, handlers))
        })
    }
}

/// A plugin directory under test.
pub(crate) struct PluginFixture {
    pub(crate) dir: TempDir,
    pub(crate) registry: Registry,
    pub(crate) plugins: PluginDirectory,
    pub(crate) compiled: Arc<Mutex<Vec<String>>>,
}

/// Short settling, long patience: the machine that runs the tests may be slow.
pub(crate) fn options() -> DirectoryOptions {
    DirectoryOptions {
        rescan_every: Duration::from_millis(100),
        settle: Duration::from_millis(30),
        settle_at_most: Duration::from_secs(2),
        retire_after: Duration::from_millis(100),
        retire_after_swap: Duration::from_secs(3600),
        load_journal: None,
        retry_after: Duration::from_millis(50),
        poll_only: false,
    }
}

impl PluginFixture {
    pub(crate) fn start(files: &[(&str, &str)], options: DirectoryOptions) -> PluginFixture {
        PluginFixture::start_with(files, options, ScriptedSandbox::default())
    }

    pub(crate) fn start_with(
        files: &[(&str, &str)],
        options: DirectoryOptions,
        script: ScriptedSandbox,
    ) -> PluginFixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).expect("a file");
        }
        let registry = Registry::new();
        let compiled = Arc::clone(&script.compiled);
        let path = dir.path().to_owned();
        let plugins =
            PluginDirectory::start_with(path, options, Box::new(script), registry.clone());
        PluginFixture {
            dir,
            registry,
            plugins,
            compiled,
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Writes in place, as `cp` does.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).expect("a file");
    }

    /// Writes a temporary file and renames it, as `deploy` does.
    pub(crate) fn replace(&self, file: &str, text: &str) {
        self.write(".new.tmp", text);
        std::fs::rename(self.path(".new.tmp"), self.path(file)).expect("a rename");
    }

    pub(crate) async fn wait_until(
        &self,
        what: &str,
        condition: impl Fn(&Snapshot) -> bool,
    ) -> Arc<Snapshot> {
        wait_until(&self.registry, what, condition).await
    }

    /// Waits until `file` is live with the bytes of `text`.
    pub(crate) async fn wait_live(&self, file: &str, text: &str) -> Arc<Snapshot> {
        let digest = Digest::of(text.as_bytes());
        let live = |snapshot: &Snapshot| {
            let status = snapshot.plugin(file);
            status.is_some_and(|s| s.state == PluginState::Live && s.serving == Some(digest))
        };
        self.wait_until(&format!("{file} is live"), live).await
    }

    /// Waits until `file` is rejected for a reason that contains `words`.
    pub(crate) async fn wait_refused(&self, file: &str, words: &str) -> Arc<Snapshot> {
        let refused = |snapshot: &Snapshot| {
            let status = snapshot.plugin(file);
            status.is_some_and(|status| {
                let reason = status.reason.as_deref().unwrap_or_default();
                status.state == PluginState::Refused && reason.contains(words)
            })
        };
        self.wait_until(&format!("{file} is refused: {words}"), refused)
            .await
    }
}

/// Waits for a snapshot that satisfies a condition; checks each new one.
pub(crate) async fn wait_until(
    registry: &Registry,
    what: &str,
    condition: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let mut watch = registry.watch();
    let search = async {
        loop {
            watch.mark_unchanged();
            let snapshot = registry.snapshot();
            if condition(&snapshot) {
                return snapshot;
            }
            watch.changed().await.expect("the registry lives");
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), search).await {
        Ok(snapshot) => snapshot,
        Err(_) => panic!("waited until {what}: {:#?}", registry.snapshot()),
    }
}

pub(crate) fn handlers(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<&str> = snapshot.handlers.keys().map(Name::as_str).collect();
    names.sort_unstable();
    names
}

pub(crate) fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo runs").success());
}
