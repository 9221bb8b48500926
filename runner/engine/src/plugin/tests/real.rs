//! Replacements with the real sandbox and real components.

use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tempfile::TempDir;

use super::component::{component, needy};
use super::support::{attempt, handlers, options, wait_until};
use crate::plugin::directory::PluginDirectory;
use crate::plugin::registry::Registry;
use crate::plugin::snapshot::Snapshot;
use crate::plugin::status::PluginState;
use pgtq_sandbox::{Allocator, Sandbox, SandboxConfig};
use pgtq_task::{Digest, Grant, GrantBook, Handler, Outcome};

fn start(dir: &TempDir) -> (PluginDirectory, Registry) {
    start_with(dir, GrantBook::default())
}

fn start_with(dir: &TempDir, grants: GrantBook) -> (PluginDirectory, Registry) {
    let config = SandboxConfig {
        grants: Arc::new(ArcSwap::from_pointee(grants)),
        allocator: Allocator::OnDemand,
        slots: 4,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::new(config).expect("a sandbox");
    let registry = Registry::new();
    let path = dir.path().to_owned();
    let plugins = PluginDirectory::start(path, options(), sandbox, registry.clone());
    (plugins, registry)
}

fn replace(dir: &TempDir, file: &str, bytes: &[u8]) {
    fs::write(dir.path().join(".new.tmp"), bytes).expect("a file");
    fs::rename(dir.path().join(".new.tmp"), dir.path().join(file)).expect("a rename");
}

async fn wait_live(registry: &Registry, file: &str, bytes: &[u8]) -> Arc<Snapshot> {
    let digest = Some(Digest::of(bytes));
    let live = |snapshot: &Snapshot| {
        let status = snapshot.plugin(file);
        status.is_some_and(|s| s.state == PluginState::Live && s.serving == digest)
    };
    wait_until(registry, "it is live", live).await
}

async fn result(handler: &Arc<dyn Handler>) -> String {
    match handler.call(attempt().0).await.outcome {
        Outcome::Complete { result } => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replaced_component_runs_new_code_while_old_attempts_finish() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (component(1, &["x", "y"]), component(2, &["x"]));
    fs::write(dir.path().join("tiny.wasm"), &first).expect("a file");
    let (plugins, registry) = start(&dir);
    plugins.ready().await;
    let old = wait_live(&registry, "tiny.wasm", &first).await;
    assert_eq!(handlers(&old), ["x", "y"]);
    assert_eq!(result(&old.handlers["x"]).await, "1");

    replace(&dir, "tiny.wasm", &second);
    let new = wait_live(&registry, "tiny.wasm", &second).await;
    assert_eq!(handlers(&new), ["x"]);
    assert_eq!(result(&new.handlers["x"]).await, "2");
    assert_eq!(new.handlers["x"].digest(), Some(Digest::of(&second)));
    assert_eq!(result(&old.handlers["y"]).await, "1");
    let status = new.plugin("tiny.wasm").expect("it is known");
    assert_eq!(status.draining.len(), 1, "the old snapshot is still held");
    drop(old);
    plugins.rescan().await;
    let status = registry.snapshot();
    let status = status.plugin("tiny.wasm").expect("it is known");
    assert!(status.draining.is_empty());
}

#[tokio::test]
async fn a_bad_file_never_replaces_a_good_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = component(1, &["x"]);
    fs::write(dir.path().join("tiny.wasm"), &good).expect("a file");
    let (plugins, registry) = start(&dir);
    plugins.ready().await;
    wait_live(&registry, "tiny.wasm", &good).await;

    let better = component(2, &["x"]);
    let mut bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"fn main() {}\n".to_vec(),
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        component(2, &["x", "x"]),
        component(2, &[]),
    ];
    bad.extend((1..8).map(|n| better[..better.len() * n / 8].to_vec()));
    for bytes in bad {
        replace(&dir, "tiny.wasm", &bytes);
        plugins.rescan().await;
        let snapshot = registry.snapshot();
        let status = snapshot.plugin("tiny.wasm").expect("it is known");
        assert_eq!(status.state, PluginState::Refused, "{status:?}");
        assert_eq!(status.digest, Some(Digest::of(&bytes)));
        assert_eq!(status.serving, Some(Digest::of(&good)));
        assert!(status.reason.is_some());
        assert_eq!(result(&snapshot.handlers["x"]).await, "1");
    }
    replace(&dir, "tiny.wasm", &better);
    wait_live(&registry, "tiny.wasm", &better).await;
}

/// Calls continue without a pause while the plugin is replaced: each one finishes on the
/// version it began with, and none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacements_during_calls_lose_no_call() {
    const SWAPS: u32 = 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut bytes = component(0, &["x"]);
    fs::write(dir.path().join("tiny.wasm"), &bytes).expect("a file");
    let (plugins, registry) = start(&dir);
    plugins.ready().await;
    wait_live(&registry, "tiny.wasm", &bytes).await;
    let calls = tokio::spawn({
        let registry = registry.clone();
        async move {
            let mut newest = 0;
            let mut n_calls = 0;
            while newest < SWAPS {
                let handler = registry.handler("x").expect("never a gap");
                let version = result(&handler).await.parse().expect("a version");
                assert!(newest <= version, "{version} ran after {newest}");
                newest = version;
                n_calls += 1;
                tokio::task::yield_now().await;
            }
            n_calls
        }
    });
    for version in 1..=SWAPS {
        bytes = component(version, &["x"]);
        replace(&dir, "tiny.wasm", &bytes);
        wait_live(&registry, "tiny.wasm", &bytes).await;
    }
    let n_calls: u32 = calls.await.expect("no call failed");
    assert!(n_calls > SWAPS);
}

#[tokio::test]
async fn a_renamed_file_serves_without_a_gap_under_the_grants_of_its_new_name() {
    let grant = Grant {
        http: vec!["https://a".parse().expect("a rule")],
        ..Grant::default()
    };
    let mut book = GrantBook::default();
    book.plugins.insert("new".into(), Arc::new(grant.clone()));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = needy(1, r#"{"http":["https://a"]}"#);
    fs::write(dir.path().join("old.wasm"), &bytes).expect("a file");
    let (plugins, registry) = start_with(&dir, book);
    plugins.ready().await;
    let before = wait_live(&registry, "old.wasm", &bytes).await;
    assert_eq!(*before.handlers["x"].grant(), Grant::default());
    let refused = before.needs("old.wasm").expect("it asks");
    assert_eq!((refused.granted, refused.asked), (0, 1));
    assert_eq!(refused.toml, "[grants.old]\nhttp = [\"https://a\"]\n");

    let gap = tokio::spawn({
        let (registry, mut watch) = (registry.clone(), registry.watch());
        async move {
            while watch.changed().await.is_ok() {
                assert!(registry.handler("x").is_some(), "a gap");
            }
        }
    });
    fs::rename(dir.path().join("old.wasm"), dir.path().join("new.wasm")).expect("a rename");
    let after = wait_live(&registry, "new.wasm", &bytes).await;
    assert_eq!(*after.handlers["x"].grant(), grant);
    assert_eq!(after.needs("new.wasm").map(|needs| needs.granted), Some(1));
    assert_eq!(result(&after.handlers["x"]).await, "1");
    assert!(!gap.is_finished(), "there was a moment without it");
    gap.abort();
}

#[tokio::test]
async fn the_published_status_lists_denied_capabilities() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = needy(1, r#"{"sql":true,"files":["/data"]}"#);
    fs::write(dir.path().join("a.wasm"), &bytes).expect("a file");
    fs::write(dir.path().join("b.wasm"), component(1, &["y"])).expect("a file");
    let (plugins, registry) = start(&dir);
    plugins.ready().await;
    let snapshot = registry.snapshot();
    let report = serde_json::to_value(snapshot.report()).expect("JSON");
    assert_eq!(report[0]["file"], "a.wasm");
    assert_eq!(report[0]["state"], "live");
    assert_eq!(
        report[0]["needs"],
        serde_json::json!({
            "asked": 2, "granted": 0, "partly": [], "refused": ["sql", "files /data"],
            "toml": "[grants.a]\nsql = \"ROLE\"\nfiles.\"/data\" = \"DIRECTORY\"\n",
        })
    );
    assert_eq!(report[1].get("needs"), None);
}
