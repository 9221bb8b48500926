//! Runs `tests/guests/reach`, a guest that executes the steps in its arguments through
//! Rust's standard library, under needs and grants that a test defines.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde_json::Value;

use super::guests::{attempt, load};
use crate::config::SandboxConfig;
use crate::net::network::Net;
use crate::net::resolve::{Resolver, SystemResolver};
use crate::run::compiled::Compiled;
use crate::run::sandbox::Sandbox;
use pgtq_setup::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};
use pgtq_task::{
    Attempt, FileGrant, Grant, GrantBook, Handler, HandlerInfo, LimitCut, LimitRequest, Limits,
    Outcome, Report, Secret,
};

/// The settings of a test.
pub(super) struct Scene {
    /// As in a manifest: `{"files": ["/data"]}`.
    pub(super) needs: Value,
    pub(super) grant: Grant,
    pub(super) limits: Limits,
    /// The limits that the handler requests.
    pub(super) asked: LimitRequest,
    /// The caps for every handler; everything, unless a test sets less.
    pub(super) cap: Option<Limits>,
    pub(super) resolver: Arc<dyn Resolver>,
    /// Connections of all attempts together.
    pub(super) connections: usize,
    /// Names and values.
    pub(super) secrets: Vec<(&'static str, &'static str)>,
}

impl Default for Scene {
    fn default() -> Self {
        Scene {
            needs: Value::Object(serde_json::Map::new()),
            grant: Grant::default(),
            limits: Limits::default(),
            asked: LimitRequest::default(),
            cap: None,
            resolver: Arc::new(SystemResolver),
            connections: 100,
            secrets: Vec::new(),
        }
    }
}

/// The guest, ready to run, and its grants.
pub(super) struct Reach {
    handler: Arc<dyn Handler>,
    grants: Arc<ArcSwap<GrantBook>>,
}

impl Scene {
    pub(super) async fn set(self) -> Reach {
        let mut book = book(self.grant);
        let secrets = self.secrets.into_iter();
        book.secrets = secrets
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .collect();
        let grants = Arc::new(ArcSwap::from_pointee(book));
        let config = SandboxConfig {
            slots: 8,
            cap: self.cap.unwrap_or_else(|| Limits {
                file_bytes: u64::MAX,
                ..Limits::default().uncapped()
            }),
            defaults: self.limits,
            grants: Arc::clone(&grants),
            cache_dir: Some(compiled()),
            ..SandboxConfig::default()
        };
        let net = Net::new(self.resolver, self.connections);
        let sandbox = Sandbox::with_net(config, &net).expect("a sandbox");
        let compiled = load_reach(&sandbox).await;
        let mut manifest = compiled.probe().await.expect("a manifest");
        let info: &mut HandlerInfo = &mut manifest.handlers[0];
        info.needs = serde_json::from_value(self.needs).expect("needs");
        info.limits = self.asked;
        Reach {
            handler: compiled.handlers(&manifest, "reach").remove(0),
            grants,
        }
    }

    /// Runs the steps once: the guest's answer to each, and the log's messages.
    pub(super) async fn run(self, steps: Value) -> (Vec<String>, Vec<String>) {
        self.set().await.run(steps).await
    }
}

impl Reach {
    pub(super) fn change_grant(&self, grant: Grant) {
        self.grants.store(Arc::new(book(grant)));
    }

    /// The same guest under another name, with the same grant.
    pub(super) fn also(&self, plugin: &str) -> Reach {
        let mut book = GrantBook::clone(&self.grants.load());
        book.plugins.insert(plugin.to_owned(), book.of("reach"));
        self.grants.store(Arc::new(book));
        Reach {
            handler: self.handler.renamed(plugin).expect("it can be renamed"),
            grants: Arc::clone(&self.grants),
        }
    }

    /// What the handler requests and does not get.
    pub(super) fn cut(&self) -> LimitCut {
        self.handler.cut()
    }

    pub(super) async fn call(&self, attempt: Attempt) -> Report {
        self.handler.call(attempt).await
    }

    pub(super) async fn run(&self, steps: Value) -> (Vec<String>, Vec<String>) {
        answers(self.call(attempt(&steps.to_string())).await)
    }
}

/// The answers of a guest that finished, and its log.
pub(super) fn answers(report: Report) -> (Vec<String>, Vec<String>) {
    let Outcome::Complete { result } = &report.outcome else {
        panic!(
            "not complete: {:?}\n{:?}",
            report.outcome, report.record.logs
        );
    };
    let said = serde_json::from_str(result).expect("texts");
    (
        said,
        report
            .record
            .logs
            .into_iter()
            .map(|line| line.message)
            .collect(),
    )
}

fn book(grant: Grant) -> GrantBook {
    GrantBook {
        plugins: [("reach".to_owned(), Arc::new(grant))].into(),
        ..GrantBook::default()
    }
}

/// A grant of directories: the guest's name, the directory, whether it is writable.
pub(super) fn directories(granted: &[(&str, &Path, bool)]) -> Grant {
    let files = granted.iter().map(|(name, dir, write)| {
        let grant = FileGrant {
            dir: (*dir).to_owned(),
            write: *write,
        };
        ((*name).to_owned(), grant)
    });
    Grant {
        files: files.collect(),
        ..Grant::default()
    }
}

/// Compiled once, then taken from the cache.
async fn load_reach(sandbox: &Sandbox) -> Compiled {
    static FIRST: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = FIRST.lock().await;
    let file = tokio::task::spawn_blocking(built).await.expect("no panic");
    load(sandbox, file).await.expect("the guest loads")
}

/// Always runs cargo, which knows whether it is up to date.
fn built() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/reach");
        let toolchain = Toolchain::ensure(&dir, &|line| eprintln!("{line}"))
            .unwrap_or_else(|missing| panic!("{missing}\n  help: {}", missing.fix));
        let options = BuildOptions {
            output: CompilerOutput::Keep,
            ..BuildOptions::default()
        };
        let built =
            build_plugin(&toolchain, &dir, &options).unwrap_or_else(|error| panic!("{error:?}"));
        std::fs::read(built.wasm_of("reach").expect("it is a plugin")).expect("a file")
    })
}

/// Beside the tests themselves.
fn compiled() -> PathBuf {
    let tests = std::env::current_exe().expect("a program");
    let dir = tests.parent().expect("in a directory");
    dir.join("compiled-guests")
}
