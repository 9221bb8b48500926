//! The cost of one task for a whole runner: claim, attempt, outcome, and everything else.
//!
//! ```text
//! cargo run --release -p pgtq-bench --example runner_cost -- URL FILE.wasm HANDLER 'ARGS' COUNT
//! ```
//!
//! Pushes COUNT tasks to the migrated database at URL and drains them in this process, with
//! the on-demand allocator and the compiler in this process, as valgrind requires. The
//! difference of two runs under `valgrind --tool=callgrind` is the cost of the additional
//! tasks; the inclusive cost of `handle_call_event` in it is that of the call hook.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pgtq_engine::plugin::{NewVersion, Registry};
use pgtq_engine::{EngineConfig, Shutdown, run};
use pgtq_sandbox::{Allocator, Sandbox, SandboxConfig};
use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::Digest;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, file, handler, task_args, count] = args.as_slice() else {
        anyhow::bail!("usage: runner_cost URL FILE.wasm HANDLER 'ARGS' COUNT");
    };
    let count: u64 = count.parse()?;
    let bytes = std::fs::read(file).with_context(|| format!("read {file}"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let store = Store::connect(DatabaseConfig::parse(url)?).await?;
        let registry = load(&bytes).await?;
        push(url, handler, task_args, count).await?;
        let config = EngineConfig {
            drain: true,
            ..EngineConfig::default()
        };
        let summary = run(store, registry, config, Shutdown::new()).await?;
        ensure!(
            summary.complete == count,
            "not every task completed: {summary:?}"
        );
        Ok(())
    })
}

async fn load(bytes: &[u8]) -> Result<Registry> {
    let sandbox = Sandbox::new(SandboxConfig {
        allocator: Allocator::OnDemand,
        compiler: None,
        ..SandboxConfig::default()
    })?;
    let digest = Digest::of(bytes);
    let compiled = sandbox.compile(Arc::from(bytes), digest).await?;
    let manifest = compiled.probe().await?;
    let version = NewVersion {
        digest: Some(digest),
        plugin: None,
        handlers: compiled.handlers(&manifest, "measured"),
    };
    let registry = Registry::new();
    let served = registry.serve("measured.wasm", version);
    ensure!(served.is_ok(), "its handlers cannot be served");
    Ok(registry)
}

async fn push(url: &str, handler: &str, args: &str, count: u64) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let sql = "SELECT count(pgtq.push($1, $2::text)) FROM generate_series(1, $3::bigint)";
    let count = i64::try_from(count)?;
    client.query_one(sql, &[&handler, &args, &count]).await?;
    drop(client);
    connection.await??;
    Ok(())
}
