//! Builds plugin files from the guests in `tests/guests`, and runs them.

use std::path::Path;
use std::sync::Arc;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::run::compiled::Compiled;

use crate::error::LoadError;

use crate::run::sandbox::Sandbox;

use crate::config::SandboxConfig;
use pgtq_task::{
    Attempt, ClaimId, Digest, ErrorKind, Failure, Handler, Name, Outcome, Report, Signal, Task,
    TaskId,
};

/// The parts of a guest besides its code.
pub(super) struct Parts {
    pub(super) manifest: String,
    pub(super) listed: Vec<String>,
    pub(super) memory: &'static str,
    pub(super) wit: String,
    pub(super) encoding: StringEncoding,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            manifest: manifest("1.0.0", &["work"]),
            listed: vec![r#"{"name":"work"}"#.to_owned()],
            memory: "2",
            wit: read("../../sdk/contract/wit/pgtq.wit"),
            encoding: StringEncoding::UTF8,
        }
    }
}

impl Parts {
    /// A plugin with these handlers, given as records.
    pub(super) fn with(handlers: &[&str]) -> Self {
        Parts {
            manifest: manifest("1.0.0", &[]).replace(
                "\"handlers\":[]",
                &format!("\"handlers\":[{}]", handlers.join(",")),
            ),
            listed: handlers.iter().map(|text| (*text).to_owned()).collect(),
            ..Parts::default()
        }
    }

    /// A plugin that pushes to its own handler, in a queue that this handler declares.
    pub(super) fn with_child() -> Self {
        Parts::with(&[WORK, r#"{"name":"child","push":{"queue":"mail"}}"#])
    }
}

/// The record of a handler that requests nothing.
pub(super) const WORK: &str = r#"{"name":"work"}"#;

pub(super) fn manifest(contract: &str, handlers: &[&str]) -> String {
    let handlers: Vec<String> = handlers
        .iter()
        .map(|name| format!(r#"{{"name":"{name}"}}"#))
        .collect();
    format!(
        r#"{{"contract":"{contract}","plugin":{{"name":"guest","version":"0.1.0"}},"handlers":[{}]}}"#,
        handlers.join(",")
    )
}

pub(super) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn source(name: &str) -> String {
    read(&format!("../../tests/guests/{name}.wat"))
}

/// The guest as a core module that carries its world, as an SDK build does.
pub(super) fn core_module(code: &str, parts: &Parts) -> Vec<u8> {
    let text = text(code, parts);
    let mut resolve = Resolve::default();
    let package = resolve.push_str("pgtq.wit", &parts.wit).expect("wit");
    let world = resolve.select_world(&[package], None).expect("world");
    finished(&text, parts, &resolve, world)
}

/// The guest's code within the prelude.
pub(super) fn text(code: &str, parts: &Parts) -> String {
    let imports: Vec<&str> = code
        .lines()
        .filter_map(|line| line.strip_prefix(";; import: "))
        .collect();
    let mut prelude = source("prelude");
    for own in ["describe", "cabi_realloc"] {
        if code.contains(&format!("(export \"{own}\")")) {
            prelude = without(&prelude, own);
        }
    }
    prelude
        .replace(";; IMPORTS", &imports.join("\n"))
        .replace("MEMORY", parts.memory)
        .replace("MANIFEST", &parts.manifest.replace('"', "\\22"))
        .replace("LENGTH", &parts.manifest.len().to_string())
        .replace("GUEST", code)
}

/// The module of this text, with its world and its list of handlers.
pub(super) fn finished(text: &str, parts: &Parts, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("guest text");
    embed_component_metadata(&mut module, resolve, world, parts.encoding).expect("embed");
    let mut list = Vec::new();
    for handler in &parts.listed {
        list.extend_from_slice(&(handler.len() as u32).to_le_bytes());
        list.extend_from_slice(handler.as_bytes());
    }
    append_section(&mut module, "pgtq.handlers", &list);
    module
}

/// The prelude without its function of this name, for a guest that defines its own.
fn without(prelude: &str, name: &str) -> String {
    let start = prelude.find(&format!("(func (export \"{name}\")"));
    let start = start.expect("the prelude has it");
    let mut depth = 0usize;
    let end = prelude[start..].find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let end = start + end.expect("it ends") + 1;
    format!("{}{}", &prelude[..start], &prelude[end..])
}

/// The guest as a component.
pub(super) fn component(code: &str, parts: &Parts) -> Vec<u8> {
    wrap(&core_module(code, parts))
}

pub(super) fn wrap(module: &[u8]) -> Vec<u8> {
    use wasi_preview1_component_adapter_provider as adapter;
    ComponentEncoder::default()
        .module(module)
        .expect("module")
        .adapter(
            adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        )
        .expect("adapter")
        .encode()
        .expect("component")
}

/// The guest of this name, as a component with the handlers `work` and `child`.
pub(super) fn guest(name: &str) -> Vec<u8> {
    component(&source(name), &Parts::with_child())
}

pub(super) fn append_section(module: &mut Vec<u8>, name: &str, data: &[u8]) {
    let leb = |mut n: usize| {
        let mut bytes = Vec::new();
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let mut body = leb(name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    module.push(0);
    module.extend(leb(body.len()));
    module.extend(body);
}

pub(super) fn sandbox(config: SandboxConfig) -> Sandbox {
    Sandbox::new(config).expect("sandbox")
}

pub(super) fn small() -> SandboxConfig {
    SandboxConfig {
        slots: 2,
        ..SandboxConfig::default()
    }
}

pub(super) async fn load(sandbox: &Sandbox, file: &[u8]) -> Result<Compiled, LoadError> {
    let digest = Digest::of(file);
    sandbox.compile(Arc::from(file), digest).await
}

/// Loads a valid file and returns its first handler.
pub(super) async fn handler(sandbox: &Sandbox, file: &[u8]) -> Arc<dyn Handler> {
    let compiled = load(sandbox, file).await.expect("load");
    let manifest = compiled.probe().await.expect("probe");
    compiled.handlers(&manifest, "guest").remove(0)
}

pub(super) fn attempt(args: &str) -> Attempt {
    Attempt {
        task: Arc::new(Task {
            id: TaskId(7),
            queue: Name::default_queue(),
            handler: Name::new("work").expect("name"),
            priority: 0,
            args: args.to_owned(),
            attempts: 0,
            crashes: 0,
            retries: None,
            pushed_at: jiff::Timestamp::UNIX_EPOCH,
            due_at: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            parent: None,
            traits: None,
        }),
        claim: ClaimId(1),
        signal: Arc::new(Signal::default()),
        database: Arc::new(pgtq_task::NoDatabase),
    }
}

/// Runs a guest once under `config`, then shows that the sandbox still works and that the
/// guest left nothing in it.
pub(super) async fn survive(name: &str, args: &str, config: SandboxConfig) -> Report {
    let sandbox = sandbox(config);
    let hostile = handler(&sandbox, &guest(name)).await;
    let report = hostile.call(attempt(args)).await;
    let echo = handler(&sandbox, &guest("echo")).await;
    let after = echo.call(attempt("[1]")).await;
    assert_eq!(
        after.outcome,
        Outcome::Complete {
            result: "[1]".into()
        }
    );
    assert_eq!(sandbox.live_instances().unwrap_or(0), 0);
    report
}

/// The failure of an attempt that will be retried.
pub(super) fn failure(report: &Report) -> &Failure {
    match &report.outcome {
        Outcome::Retry { failure, .. } => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

pub(super) async fn survive_as(name: &str, config: SandboxConfig, kind: ErrorKind) -> Report {
    let report = survive(name, "[]", config).await;
    assert_eq!(failure(&report).kind, kind, "{:?}", report.outcome);
    assert!(report.record.usage.fuel > 0, "no fuel was counted");
    report
}
