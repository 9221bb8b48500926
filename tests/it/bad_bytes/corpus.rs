//! The modules of the WebAssembly specification's own tests, what wasm-smith makes
//! up, and what wasm-mutate makes of both and of good plugins.
//!
//! `PGTQ_CORPUS=1000` makes that many of each generated kind, `PGTQ_CORPUS_SEED=7`
//! others.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use pgtq_sandbox::{Compiler, LoadError, Sandbox, SandboxConfig, inspect, validate};
use pgtq_task::Digest;
use pgtq_tests::{plugin, program, repository};

use super::number;

/// Modules that a script calls invalid and the validator takes, and rightly so: both
/// scripts are copies of before reference types came into the specification, which the
/// engine has.
const TAKEN: [&str; 4] = [
    // The same function is in `unreached-valid.wast` of version 2 and later.
    "reference-types/unreached-invalid.wast:540",
    // "multiple tables", which are allowed since version 2.
    "threads/imports.wast:310",
    "threads/imports.wast:314",
    "threads/imports.wast:318",
];

/// Children at once.
const AT_ONCE: usize = 4;

/// Its kind, its name, its bytes.
type Item = (String, String, Arc<[u8]>);

/// How far an item came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Invalid,
    Stopped,
    Valid,
    Refused,
    Live,
    Died,
}

/// What the program in `tests/corpus` prints. Cargo builds it first.
fn corpus() -> Vec<Item> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let text = |name, otherwise| number(name, otherwise).to_string();
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(repository().join("tests/corpus/Cargo.toml"))
        .arg("--")
        .args([text("PGTQ_CORPUS_SEED", 1), text("PGTQ_CORPUS", 200)])
        .args([plugin("hello"), plugin("flaky")])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", output.status);
    let mut rest = &*output.stdout;
    let mut items = Vec::new();
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let head = str::from_utf8(&rest[..end]).expect("a line of text");
        let parts: Vec<&str> = head.split(' ').collect();
        let [label, name, length] = parts[..] else {
            panic!("it is not LABEL NAME LENGTH: {head}");
        };
        let length: usize = length.parse().expect("a number");
        let bytes = &rest[end + 1..][..length];
        items.push((label.to_owned(), name.to_owned(), Arc::from(bytes)));
        rest = &rest[end + 1 + length..];
    }
    items
}

/// What a runner does with a file, and the validator's word on it even where the
/// runner would not ask for it.
async fn end(sandbox: &Sandbox, bytes: Arc<[u8]>) -> (End, String) {
    let Ok(inspected) = catch_unwind(AssertUnwindSafe(|| inspect(&bytes))) else {
        return (End::Died, "reading its outline panicked".to_owned());
    };
    if let Err(error) = validate(sandbox.config(), Arc::clone(&bytes)).await {
        return judged(End::Invalid, &error);
    }
    if let Err(error) = inspected {
        return judged(End::Valid, &error);
    }
    let digest = Digest::of(&bytes);
    match sandbox.compile(bytes, digest).await {
        Err(error) => judged(End::Refused, &error),
        // From here on its own code runs.
        Ok(compiled) => match compiled.probe().await {
            Err(error) => judged(End::Refused, &error),
            Ok(_) => (End::Live, String::new()),
        },
    }
}

fn judged(end: End, error: &LoadError) -> (End, String) {
    let said = error.to_string();
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let wordless = said.len() < 10 || said.contains(obeyed);
    let end = match error {
        LoadError::Internal(_)
        | LoadError::Compiler { .. }
        | LoadError::CompilerFailed { .. }
        | LoadError::CompileStalled { .. } => End::Died,
        _ if wordless => End::Died,
        LoadError::CompileMemory { .. } | LoadError::CompileTimeout { .. } => End::Stopped,
        _ => end,
    };
    (end, said)
}

#[test]
#[ignore = "builds a workspace of its own and takes minutes"]
fn nothing_of_the_corpus_kills_a_reader_or_a_compiler() {
    let items = corpus();
    let config = SandboxConfig {
        compiler: Some(Compiler::at(program().get_program())),
        slots: 4,
        ..SandboxConfig::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let sandbox = Sandbox::new(config).expect("a sandbox");
    let ended = runtime.block_on(
        stream::iter(items)
            .map(|(label, name, bytes)| {
                let sandbox = &sandbox;
                async move { (label, name, end(sandbox, bytes).await) }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>(),
    );
    let mut counts: BTreeMap<(&str, End), usize> = BTreeMap::new();
    for (label, _, (end, _)) in &ended {
        *counts.entry((label, *end)).or_default() += 1;
    }
    for ((label, end), n) in &counts {
        eprintln!("{label:16} {end:?} {n}");
    }
    let died: Vec<_> = ended
        .iter()
        .filter(|(_, _, (end, _))| *end == End::Died)
        .collect();
    eprintln!("{} items, {} deaths", ended.len(), died.len());
    assert!(died.is_empty(), "{died:#?}");
    assert_eq!(sandbox.live_instances(), Some(0));
    let mut taken: Vec<&str> = ended
        .iter()
        .filter(|(label, _, (end, _))| label == "spec-invalid" && *end >= End::Valid)
        .map(|(_, name, _)| &**name)
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, TAKEN);
    let n = |label, end| counts.get(&(label, end)).copied().unwrap_or_default();
    assert!(
        n("spec-invalid", End::Invalid) > 1_000,
        "the suite is missing"
    );
    assert!(n("mutated-plugin", End::Live) > 0, "no mutant came far");
}
