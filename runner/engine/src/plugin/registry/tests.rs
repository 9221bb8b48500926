use std::sync::Arc;

use super::*;
use crate::plugin::plugin_table::MAX_RETIRED;
use crate::plugin::tests::support::{Native, attempt, handlers, name};

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn version(n: u8, names: &[&str]) -> NewVersion {
    NewVersion {
        digest: Some(digest(n)),
        plugin: None,
        handlers: names.iter().map(|name| Native::named(name)).collect(),
    }
}

fn serve(registry: &Registry, file: &str, n: u8, names: &[&str]) -> Result<Vec<Name>, Conflict> {
    registry.serve(file, version(n, names))
}

#[test]
fn a_snapshot_never_changes() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x", "y"]).expect("no conflict");
    let before = registry.snapshot();
    serve(&registry, "a.wasm", 2, &["y", "z"]).expect("no conflict");
    let after = registry.snapshot();

    assert_eq!(handlers(&before), ["x", "y"]);
    assert_eq!(handlers(&after), ["y", "z"]);
    assert_eq!(before.handlers["y"].digest(), Some(digest(1)));
    assert_eq!(after.handlers["y"].digest(), Some(digest(2)));
    assert!(registry.handler("x").is_none());
}

#[test]
fn the_later_of_two_files_with_one_handler_is_rejected_as_a_whole() {
    let registry = Registry::new();
    serve(&registry, "b.wasm", 1, &["x"]).expect("no conflict");
    let refused = serve(&registry, "a.wasm", 2, &["fresh", "x"]);
    let expected = Conflict {
        handler: name("x"),
        holder: "b.wasm".into(),
    };
    assert_eq!(refused, Err(expected));
    assert_eq!(handlers(&registry.snapshot()), ["x"]);

    registry.retire("b.wasm");
    serve(&registry, "a.wasm", 2, &["fresh", "x"]).expect("the name is free");
    assert_eq!(handlers(&registry.snapshot()), ["fresh", "x"]);
}

#[test]
fn a_rejected_version_keeps_the_old_one_serving_and_shows_both() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x"]).expect("no conflict");
    let before = registry.snapshot();
    let reason = Some("bad".to_owned());
    registry.note("a.wasm", PluginState::Refused, Some(digest(2)), reason);

    let after = registry.snapshot();
    let status = after.plugin("a.wasm").expect("it is known");
    assert_eq!(status.state, PluginState::Refused);
    assert_eq!(status.digest, Some(digest(2)));
    assert_eq!(status.serving, Some(digest(1)));
    assert_eq!(status.reason.as_deref(), Some("bad"));
    assert_eq!(status.handlers, [name("x")]);
    assert!(Arc::ptr_eq(&before.handlers, &after.handlers));
}

#[test]
fn an_unchanged_status_makes_no_snapshot() {
    let registry = Registry::new();
    registry.note("a.wasm", PluginState::Discovered, None, None);
    let before = registry.snapshot().generation;
    registry.note("a.wasm", PluginState::Discovered, None, None);
    assert_eq!(registry.snapshot().generation, before);
    assert_eq!(*registry.watch().borrow(), before);
}

#[test]
fn a_file_that_never_served_leaves_no_status() {
    let registry = Registry::new();
    registry.note("a.wasm", PluginState::Settling, None, None);
    registry.retire("a.wasm");
    assert!(registry.snapshot().plugins.is_empty());
}

#[tokio::test]
async fn running_attempts_are_counted_on_their_own_version() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x"]).expect("no conflict");
    let (attempt, signal) = attempt();
    let running = registry.handler("x").expect("it serves").call(attempt);
    serve(&registry, "a.wasm", 2, &["x"]).expect("no conflict");

    let snapshot = registry.snapshot();
    let draining = &snapshot.plugin("a.wasm").expect("it is known").draining;
    assert_eq!(draining.len(), 1);
    assert_eq!(draining[0].digest(), Some(digest(1)));
    assert_eq!(draining[0].attempts(), 1);

    signal.stop(pgtq_task::StopReason::Interrupt);
    running.await;
    assert_eq!(draining[0].attempts(), 0);
    registry.refresh();
    let snapshot = registry.snapshot();
    let status = snapshot.plugin("a.wasm").expect("it is known");
    assert!(status.draining.is_empty());
}

#[tokio::test]
async fn a_dropped_attempt_is_no_longer_counted() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x"]).expect("no conflict");
    let running = registry.handler("x").expect("it serves").call(attempt().0);
    registry.retire("a.wasm");
    let snapshot = registry.snapshot();
    let status = snapshot.plugin("a.wasm").expect("it is shown");
    assert_eq!(status.state, PluginState::Retired);
    assert_eq!(status.draining[0].attempts(), 1);
    drop(running);
    assert_eq!(status.draining[0].attempts(), 0);
}

#[test]
fn a_renamed_file_takes_its_handlers_along_in_one_swap() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x"]).expect("no conflict");
    serve(&registry, "b.wasm", 2, &["y"]).expect("no conflict");
    assert_eq!(registry.rename("a.wasm", "b.wasm"), Some(vec![name("y")]));

    let snapshot = registry.snapshot();
    assert_eq!(handlers(&snapshot), ["x"]);
    assert!(snapshot.plugin("a.wasm").is_none());
    let status = snapshot.plugin("b.wasm").expect("it is known");
    assert_eq!(status.serving, Some(digest(1)));
    assert_eq!(registry.rename("a.wasm", "c.wasm"), None);
}

#[test]
fn retired_files_are_remembered_up_to_a_limit() {
    let registry = Registry::new();
    for n in 0..MAX_RETIRED + 20 {
        let file = format!("{n}.wasm");
        serve(&registry, &file, 1, &[&format!("h{n}")]).expect("no conflict");
        registry.retire(&file);
    }
    assert_eq!(registry.snapshot().plugins.len(), MAX_RETIRED);
}

#[test]
fn a_status_reads_well_as_json() {
    let registry = Registry::new();
    serve(&registry, "a.wasm", 1, &["x"]).expect("no conflict");
    let snapshot = registry.snapshot();
    let json = serde_json::to_value(&*snapshot.plugins[0]).expect("it is JSON");
    assert_eq!(json["state"], "live");
    assert_eq!(json["serving"], digest(1).to_string());
    assert_eq!(json["handlers"], serde_json::json!(["x"]));
}
