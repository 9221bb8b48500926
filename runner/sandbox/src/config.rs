//! What an operator decides about the sandbox.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::capability::FakeHttp;
use super::compile::Compiler;
use pgtq_task::{GrantBook, HttpProxy, LimitRequest, Limits, Name, PushFacts};

/// Where the memory of instances comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// Reserved once for all slots and reused: the fast one.
    #[default]
    Pooling,
    /// Mapped afresh for every attempt: several times dearer, for the wary.
    OnDemand,
}

/// Everything the sandbox needs to know at start.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where instance memory comes from.
    pub allocator: Allocator,
    /// Whether pooled stacks are cleared between attempts. Code that Cranelift compiles
    /// reads no stack that it has not written; this is for who expects it to have a bug
    /// there. It costs about a fifth of the throughput of tasks that do nothing.
    pub zero_stacks: bool,
    /// Attempts that may run at the same time; sizes the pool. At least 1.
    pub slots: u32,
    /// What an attempt gets when its handler asks for nothing.
    pub defaults: Limits,
    /// The most that a handler may ask for, unless more is granted to its plugin.
    pub cap: Limits,
    /// What the operator decided for single handlers: wins over what the handler asks
    /// for, and over all caps.
    pub overrides: BTreeMap<Name, LimitRequest>,
    /// What plugins are granted, and the secrets. Read anew by every attempt
    /// of a handler that asks for something.
    pub grants: Arc<ArcSwap<GrantBook>>,
    /// What the engine knows of the database that decides about pushes.
    pub push_facts: Arc<PushFacts>,
    /// What HTTP requests of guests to names go through.
    pub http_proxy: Option<Arc<HttpProxy>>,
    /// Answers HTTP requests in place of the network, for tests of plugins.
    pub fake_http: Option<Arc<dyn FakeHttp>>,
    /// Where compiled code is kept; `None` compiles every time.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the cache may hold before the oldest entries go.
    pub cache_bytes: u64,
    /// What compiles plugins. `None` compiles inside this process without limits:
    /// for tests only.
    pub compiler: Option<Compiler>,
    /// Processor time for one compilation, of all its threads together; rounded up to
    /// whole seconds. By the clock it may take ten times as long.
    pub compile_timeout: Duration,
    /// Address space of the compiling child, bytes.
    pub compile_memory: u64,
    /// The largest plugin file, bytes.
    pub max_file_bytes: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        SandboxConfig {
            allocator: Allocator::default(),
            zero_stacks: false,
            slots: 64,
            defaults: Limits::default(),
            cap: Limits::default().cap(),
            overrides: BTreeMap::new(),
            grants: Arc::default(),
            push_facts: Arc::default(),
            http_proxy: None,
            fake_http: None,
            cache_dir: None,
            cache_bytes: 1 << 30,
            compiler: None,
            // Generous: an unoptimised build of the compiler is slow.
            compile_timeout: Duration::from_secs(120),
            compile_memory: 1 << 30,
            max_file_bytes: 32 << 20,
        }
    }
}
