//! The direct path into a plugin does what the component does, or leaves it to the
//! component.

use std::borrow::Cow;
use std::sync::Arc;

use wit_component::StringEncoding;

use super::guests::{
    Parts, WORK, attempt, component, core_module, guest, load, sandbox, small, source,
};
use crate::attempt::access::{Access, Requester, own_handlers};
use crate::attempt::granted::PluginGrants;
use crate::config::SandboxConfig;
use crate::direct::expose::expose;
use crate::direct::fallback::Fallbacks;
use crate::run::attempt::AttemptRun;
use crate::run::compiled::Compiled;
use pgtq_task::{
    LimitRequest, LogLine, LogPageLimit, Manifest, Outcome, Report, StopReason, TaskId,
};

/// Guests and arguments that need no component.
const ALIKE: [(&str, &str); 19] = [
    ("echo", r#"{"a":"\u0000é"}"#),
    ("echo", "not JSON"),
    ("count", "[]"),
    ("facts", "[]"),
    ("failure", "0no luck"),
    ("failure", "1no"),
    ("failure", "2"),
    ("failure", "3why"),
    ("snooze_without_delay", ""),
    ("log_once", "a line\nand more"),
    ("push_once", r#"{"queue":"mail","priority":3,"key":"k"}"#),
    ("push_once", r#"{"queue":"a b"}"#),
    ("flood_pushes", ""),
    ("out_of_bounds", "[]"),
    ("recurse", "[]"),
    ("divide", "[]"),
    ("bad_call", "[]"),
    ("over_result", "[]"),
    ("big_error", "[]"),
];
/// Guests that need the component.
const FALLING_BACK: [(&str, &str); 5] = [
    ("failure", "4unknown verdict"),
    ("bad_text", "[]"),
    ("bad_pointer", "[]"),
    ("big_call", "[]"),
    ("evil/realloc_lies", "[]"),
];

async fn loaded(code: &str) -> Compiled {
    loaded_with(code, &Parts::with_child()).await
}

async fn loaded_with(code: &str, parts: &Parts) -> Compiled {
    let sandbox = sandbox(SandboxConfig {
        slots: 1,
        ..small()
    });
    let file = component(code, parts);
    load(&sandbox, &file).await.expect("it is valid")
}

pub(super) async fn run(
    compiled: &Compiled,
    args: &str,
    fallbacks: &Fallbacks,
) -> (Report, Vec<String>) {
    let inner = &compiled.inner;
    let manifest = compiled.probe().await.expect("a manifest");
    let info = &manifest.handlers[0];
    let limits = Arc::new(compiled.limits(&info.name, &info.limits, &LimitRequest::default()));
    let attempt = attempt(args);
    let signal = Arc::clone(&attempt.signal);
    let plugin = inner.plugin.here();
    assert!(plugin.direct.is_some(), "there is no direct path");
    let run = AttemptRun {
        plugin,
        digest: inner.digest,
        info,
        limits,
        access: access(compiled, &manifest),
        attempt,
    };
    let report = run.finish(fallbacks).await;
    let line = |line: &LogLine| format!("{:?} {} {:?}", line.level, line.message, line.fields);
    let mut said: Vec<String> = report.record.logs.iter().map(line).collect();
    said.push(format!("{:?}", signal.take_progress()));
    (report, said)
}

/// What the first handler may do.
fn access(compiled: &Compiled, manifest: &Manifest) -> Access {
    let shared = &compiled.inner.shared;
    let plugin: Arc<str> = Arc::from("guest");
    let requester = Requester::new(
        Arc::clone(&plugin),
        Arc::new(manifest.handlers[0].clone()),
        own_handlers(&manifest.handlers),
        Arc::clone(&shared.services),
    );
    let granted = PluginGrants::new(&plugin, &shared.config.grants).now();
    Access::new(Arc::new(requester), granted)
}

/// Runs a guest both ways; returns whether it needed a fallback.
async fn compare(name: &str, args: &str) -> bool {
    let compiled = loaded(&source(name)).await;
    let short = Fallbacks::default();
    let (direct, said_directly) = run(&compiled, args, &short).await;
    let (whole, said) = run(&compiled, args, &Fallbacks::always()).await;
    assert_eq!(direct.outcome, whole.outcome, "{name} {args}");
    assert_eq!(said_directly, said, "{name} {args}");
    assert_eq!(
        direct.record.children, whole.record.children,
        "{name} {args}"
    );
    assert_eq!(
        direct.record.logs_dropped, whole.record.logs_dropped,
        "{name} {args}"
    );
    if !short.may_go_direct() {
        return true;
    }
    // Of a thousand calls one is slow most of the time.
    if direct.record.children.len() > 100 {
        return false;
    }
    // The component's own modules use some fuel with every call, and a slow call is
    // charged for its time: the cheapest of a few excludes that.
    let mut more = whole.record.usage.fuel;
    for _ in 0..5 {
        let (whole, _) = run(&compiled, args, &Fallbacks::always()).await;
        more = more.min(whole.record.usage.fuel);
    }
    let less = direct.record.usage.fuel;
    assert!(
        less <= more && more - less < 1_000 + more / 100,
        "{name} {args} {less} {more}"
    );
    false
}

#[tokio::test]
async fn an_ordinary_attempt_has_the_same_outcome_both_ways() {
    for (name, args) in ALIKE {
        assert!(
            !compare(name, args).await,
            "{name} {args} needed a fallback"
        );
    }
}

#[tokio::test]
async fn unsupported_calls_are_left_to_the_component() {
    for (name, args) in FALLING_BACK {
        assert!(
            compare(name, args).await,
            "{name} {args} needed no fallback"
        );
    }
}

/// Reads the program arguments, as a standard library may.
const USES_WASI: &str = r#"
  ;; import: (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
  (func $run (param $h i32) (param $hl i32) (param $args i32) (param $len i32) (result i32)
    (call $arguments (i32.const 128))
    (call $ok (local.get $args) (local.get $len)))
"#;

async fn uses_wasi(code: &str) -> Compiled {
    let mut parts = Parts::default();
    let world = "world plugin {\n    import wasi:cli/environment@0.2.0;";
    let environment = "
        package wasi:cli@0.2.0 { interface environment { get-arguments: func() -> list<string>; } }";
    parts.wit = parts.wit.replace("world plugin {", world) + environment;
    loaded_with(&code.replace("  ;; import", ";; import"), &parts).await
}

#[tokio::test]
async fn wasi_is_available_to_its_users() {
    let compiled = uses_wasi(USES_WASI).await;
    let fallbacks = Fallbacks::default();
    let (report, _) = run(&compiled, "1", &fallbacks).await;
    let result = "1".to_owned();
    assert_eq!(report.outcome, Outcome::Complete { result });
    assert!(!fallbacks.may_go_direct(), "it needed no fallback");
}

#[tokio::test]
async fn logs_after_a_fallback_are_visible_while_the_attempt_runs() {
    let and_logs =
        "(call $log (i32.const 1) (local.get $args) (local.get $len) (i32.const 0) (i32.const 0))
        (loop $for_ever (br $for_ever))
        (call $ok";
    let compiled = uses_wasi(&USES_WASI.replace("(call $ok", and_logs)).await;
    let manifest = compiled.probe().await.expect("a manifest");
    let work = compiled.handlers(&manifest, "guest").remove(0);
    let attempt = attempt("1");
    let signal = Arc::clone(&attempt.signal);
    let running = tokio::spawn(work.call(attempt));
    let room = LogPageLimit {
        lines: 10,
        bytes: 1_000,
    };
    let seen = || signal.log().map_or(0, |log| log.after(0, room).lines.len());
    while seen() == 0 && !running.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen(), 1);
    signal.stop(StopReason::Interrupt);
    let report = running.await.expect("no panic");
    assert_eq!(report.outcome, Outcome::Release);
}

/// Logs and pushes, then leaves the direct path.
const LATE: &str = r#"
  (func $run (param $h i32) (param $hl i32) (param $args i32) (param $len i32) (result i32)
    (call $log (i32.const 1) (local.get $args) (local.get $len) (i32.const 0) (i32.const 0))
    (call $progress (f64.const 0.5) (local.get $args) (local.get $len))
    (call $push (local.get $args) (local.get $len) (local.get $args) (local.get $len)
      (local.get $args) (i32.const 0) (i32.const 128))
    (call $log (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $ok (local.get $args) (local.get $len)))
"#;

#[tokio::test]
async fn an_attempt_before_its_fallback_has_no_effect() {
    let parts = Parts::with(&[WORK, r#"{"name":"1"}"#]);
    let compiled = loaded_with(LATE, &parts).await;
    let fallbacks = Fallbacks::default();
    let (report, said) = run(&compiled, "1", &fallbacks).await;
    assert!(!fallbacks.may_go_direct(), "it needed no fallback");
    let Outcome::Retry { failure, .. } = &report.outcome else {
        panic!("{:?}", report.outcome);
    };
    assert!(failure.message.contains("discriminant"), "{failure:?}");
    assert_eq!(report.record.logs.len(), 1, "{said:?}");
    assert!(report.record.children.len() <= 1);
}

/// While it allocates for a text from the host it asks the host for another.
const NESTED: &str = r#"
  (global $n (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $new i32) (result i32)
    (if (global.get $n) (then (call $queue (i32.const 128))))
    (i32.const 2048))
  (func $run (param $h i32) (param $hl i32) (param $args i32) (param $len i32) (result i32)
    (global.set $n (i32.const 1))
    (call $queue (i32.const 128))
    (call $ok (local.get $args) (local.get $len)))
"#;

#[tokio::test]
async fn a_guest_cannot_call_the_host_while_it_allocates_for_an_answer() {
    let compiled = loaded(NESTED).await;
    let fallbacks = Fallbacks::default();
    let (direct, _) = run(&compiled, "1", &fallbacks).await;
    assert!(!fallbacks.may_go_direct(), "it needed no fallback");
    let (whole, _) = run(&compiled, "1", &Fallbacks::always()).await;
    assert_eq!(direct.outcome, whole.outcome);
    assert!(matches!(whole.outcome, Outcome::Retry { .. }));
}

#[test]
fn a_handler_uses_the_component_for_a_while_after_a_fallback() {
    let fallbacks = Fallbacks::default();
    assert!(fallbacks.may_go_direct() && fallbacks.may_go_direct());
    fallbacks.note();
    let n = (0..).take_while(|_| !fallbacks.may_go_direct()).count();
    assert_eq!(n, 1_000);
}

/// A component that looks like one of wit-component, with an addition.
fn tied(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component (core module)
            (core module (table (export "$imports") 0 funcref))
            (core module (import "" "$imports" (table 0 funcref)))
            {more})"#
    );
    wat::parse_str(&text).expect("text")
}

#[test]
fn only_a_component_of_one_module_is_ordinary() {
    let is_exposed = |wasm: &[u8]| expose(wasm).len() > wasm.len();
    let ordinary = guest("echo");
    assert!(is_exposed(&ordinary) && is_exposed(&tied("")));
    let once = expose(&ordinary).into_owned();
    assert!(!is_exposed(&once), "it is there already");
    let validated = wasmparser::Validator::new().validate_all(&once);
    validated.map(drop).expect("it is as valid as before");

    let others = [
        core_module(&source("echo"), &Parts::default()),
        wat::parse_str("(component)").expect("text"),
        wat::parse_str("(component (core module) (core module) (core module))").expect("text"),
        tied("(component)"),
        tied("(core module)"),
        tied(r#"(core instance $i (instantiate 0)) (export "pgtq-main-module" (core module 2))"#),
        tied(r#"(import "m" (core module))"#),
        b"\0asm nonsense".to_vec(),
        Vec::new(),
    ];
    for (i, other) in others.iter().enumerate() {
        assert!(!is_exposed(other), "{i}");
    }
}

#[tokio::test]
async fn the_task_id_is_the_same_both_ways() {
    let compiled = loaded(&source("push_once")).await;
    for fallbacks in [Fallbacks::default(), Fallbacks::always()] {
        let (report, _) = run(&compiled, "{}", &fallbacks).await;
        assert_eq!(report.record.children[0].parent, Some(TaskId(7)));
    }
}

#[test]
fn a_plugin_without_utf8_strings_has_no_direct_path() {
    for (encoding, ordinary) in [
        (StringEncoding::UTF8, true),
        (StringEncoding::UTF16, false),
        (StringEncoding::CompactUTF16, false),
    ] {
        let parts = Parts {
            encoding,
            ..Parts::default()
        };
        let file = component(&source("echo"), &parts);
        let is_exposed = matches!(expose(&file), Cow::Owned(_));
        assert_eq!(is_exposed, ordinary, "{encoding:?}");
    }
}
