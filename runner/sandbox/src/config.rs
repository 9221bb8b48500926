//! What an operator configures for the sandbox.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::capability::http::fake::FakeHttp;
use crate::compiler::Compiler;
use pgtq_task::{GrantBook, HttpProxy, LimitRequest, Limits, Name, PushFacts};

/// The source of the memory of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocator {
    /// Reserved once for all slots and reused: the fast one.
    #[default]
    Pooling,
    /// Mapped again for every attempt: several times slower, for extra isolation.
    OnDemand,
}

/// All settings of the sandbox.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The source of instance memory.
    pub allocator: Allocator,
    /// Whether pooled stacks are cleared between attempts. Code that Cranelift compiles
    /// never reads stack that it has not written; this setting protects against a bug in
    /// that. It costs about a fifth of the throughput of tasks that do nothing.
    pub zero_stacks: bool,
    /// Attempts that may run at the same time; sizes the pool. At least 1.
    pub slots: u32,
    /// The limits of an attempt whose handler requests none.
    pub defaults: Limits,
    /// The highest limits that a handler may request, unless its plugin is granted more.
    pub cap: Limits,
    /// The operator's limits for single handlers: they override the handler's requests
    /// and all caps.
    pub overrides: BTreeMap<Name, LimitRequest>,
    /// The grants of plugins, and the secrets. Every attempt of a handler that requests
    /// any reads the current ones.
    pub grants: Arc<ArcSwap<GrantBook>>,
    /// The engine's facts about the database that decide about pushes.
    pub push_facts: Arc<PushFacts>,
    /// The proxy for HTTP requests of guests to host names.
    pub http_proxy: Option<Arc<HttpProxy>>,
    /// Answers HTTP requests in place of the network, for tests of plugins.
    pub fake_http: Option<Arc<dyn FakeHttp>>,
    /// Where compiled code is kept; `None` compiles every time.
    pub cache_dir: Option<PathBuf>,
    /// Size limit of the cache in bytes; beyond it the oldest entries are removed.
    pub cache_bytes: u64,
    /// The program that compiles plugins. `None` compiles inside this process without
    /// limits: for tests only.
    pub compiler: Option<Compiler>,
    /// Processor time for one compilation, over all its threads; rounded up to whole
    /// seconds. The wall-clock limit is ten times as long.
    pub compile_timeout: Duration,
    /// Address space of the compiling child, in bytes.
    pub compile_memory: u64,
    /// The largest accepted plugin file, in bytes.
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
