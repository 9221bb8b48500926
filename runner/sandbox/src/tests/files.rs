use super::guests::{
    Parts, append_section, component, core_module, guest, load, manifest, read, sandbox, small,
    source,
};
use crate::compile::file_form::FileForm;
use crate::compile::inspect::inspect;
use crate::compile::parent::validate;
use crate::error::LoadError;

fn refused(file: &[u8]) -> LoadError {
    inspect(file).expect_err("must be refused")
}

fn listing(names: &[&str]) -> Parts {
    Parts {
        manifest: manifest("1.0.0", names),
        listed: names
            .iter()
            .map(|name| format!(r#"{{"name":"{name}"}}"#))
            .collect(),
        ..Parts::default()
    }
}

#[test]
fn a_plugin_is_inspected_without_running_it() {
    let parts = listing(&["work", "play"]);
    let inspection = inspect(&component(&source("exit"), &parts)).expect("a plugin");
    assert_eq!(inspection.form, FileForm::Component);
    assert_eq!(inspection.contract, "1.0.0");
    let names: Vec<&str> = inspection
        .handlers
        .iter()
        .map(|h| h.name.as_str())
        .collect();
    assert_eq!(names, ["work", "play"]);
    let imports = inspection.imports.join(" ");
    assert!(imports.contains("pgtq:plugin/types@1.0.0"), "{imports}");
    assert!(imports.contains("wasi:cli/exit@0.2"), "{imports}");

    let module = inspect(&core_module(&source("echo"), &parts)).expect("a plugin");
    assert_eq!(module.form, FileForm::CoreModule);
    assert_eq!(module.handlers, inspection.handlers);
}

#[test]
fn files_that_are_not_webassembly_are_named() {
    assert_eq!(refused(b""), LoadError::Empty);
    assert_eq!(refused(b"\0as"), LoadError::Truncated { at: 3 });
    for bytes in [&b"hello"[..], b"\x7fELF\x02\x01\x01", b"\x1f\x8b\x08\x00"] {
        assert_eq!(refused(bytes), LoadError::NotWasm);
    }
    let engine = crate::engine::compiling().expect("engine");
    let code = engine.precompile_component(&guest("echo")).expect("code");
    assert_eq!(refused(&code), LoadError::NotWasm);
}

#[test]
fn a_file_truncated_anywhere_is_rejected() {
    let file = component(&source("echo"), &Parts::default());
    let whole = inspect(&file).expect("a plugin");
    let mut whole_enough = 0;
    for at in 1..file.len() {
        // The last sections contain names only: a cut between them loses nothing.
        if let Ok(cut) = inspect(&file[..at]) {
            assert_eq!(cut.imports, whole.imports);
            assert_eq!(cut.handlers, whole.handlers);
            whole_enough += 1;
        }
    }
    assert!(whole_enough <= 2, "{whole_enough} cuts were accepted");
    let middle = refused(&file[..file.len() / 2]);
    assert!(matches!(middle, LoadError::Truncated { .. }), "{middle:?}");
}

/// A file with a flipped byte may still be valid (for example in a name). The point is
/// that nothing panics and the result is either an error or a plugin.
#[tokio::test]
async fn flipped_bytes_are_rejected_or_harmless() {
    let sandbox = sandbox(small());
    let file = guest("echo");
    let mut loaded = 0;
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        // Every file is inspected, and every tenth that passes is also run.
        if inspect(&flipped).is_ok()
            && at % 10 == 0
            && let Ok(compiled) = load(&sandbox, &flipped).await
        {
            loaded += 1;
            if let Ok(manifest) = compiled.probe().await {
                for handler in compiled.handlers(&manifest, "guest") {
                    handler.call(super::guests::attempt("[1]")).await;
                }
            }
        }
    }
    assert!(loaded > 0, "the test shows nothing");
    assert_eq!(sandbox.live_instances(), Some(0));
}

#[test]
fn the_error_says_what_a_plain_module_or_component_lacks() {
    let module = wat::parse_str("(module)").expect("text");
    assert_eq!(refused(&module), LoadError::CoreModule);
    let empty = wat::parse_str("(component)").expect("text");
    assert!(matches!(refused(&empty), LoadError::MissingExport(_)));
}

/// Features that the engine does not support are rejected when the whole file is
/// validated.
#[tokio::test]
async fn unsupported_features_are_invalid() {
    for text in [
        "(component (core module (memory 1 1 shared)))",
        "(component (core module (func (result i32))))",
    ] {
        let file = wat::parse_str(text).expect("text");
        let error = validate(&small(), file.into()).await;
        assert!(matches!(error, Err(LoadError::Invalid { .. })), "{error:?}");
    }
    let good = validate(&small(), guest("echo").into()).await;
    assert_eq!(good, Ok(()));
}

#[test]
fn a_contract_mismatch_names_both_versions() {
    let wit =
        read("../../sdk/contract/wit/pgtq.wit").replace("pgtq:plugin@1.0.0", "pgtq:plugin@2.1.0");
    // Without calls of its own, so that only the contract differs.
    let text = r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "describe") (result i32) unreachable)
        (func (export "run") (param i32 i32 i32 i32) (result i32) unreachable))"#;
    let mut module = wat::parse_str(text).expect("text");
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("pgtq.wit", &wit).expect("wit");
    let world = resolve.select_world(&[package], None).expect("world");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).expect("embed");
    let error = refused(&super::guests::wrap(&module));
    let wanted = LoadError::WrongContract {
        found: "2.1.0".into(),
        wanted: "1.0.0".into(),
    };
    assert_eq!(error, wanted);
    assert!(error.to_string().contains("2.1.0") && error.to_string().contains("1.0.0"));
}

#[test]
fn unknown_imports_are_named() {
    let text = r#"(component
        (import "wasi:sockets/tcp@0.2.0" (instance))
        (import "wasi:nn/tensor@0.2.0" (instance))
        (import "wasi:http/incoming-handler@0.2.0" (instance))
        (import "wasi:cli/exit@0.2.0" (instance))
        (import "pgtq:plugin/log@1.0.0" (instance))
        (import "pgtq:plugin/mind-reading@1.3.0" (instance))
        (import "evil" (func)))"#;
    let LoadError::UnknownImports(names) = refused(&wat::parse_str(text).expect("text")) else {
        panic!("not refused for its imports");
    };
    assert_eq!(
        names,
        [
            "evil",
            "pgtq:plugin/mind-reading@1.3.0",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:nn/tensor@0.2.0"
        ]
    );
}

#[test]
fn a_nested_component_with_outer_code_is_rejected() {
    let instance = "(component $outer (core module $m) (component
        (alias outer $outer $m (core module $mm)) (core instance (instantiate $mm))))";
    let lowering = r#"(component (component
        (import "f" (func $f)) (core func (canon lower (func $f)))))"#;
    for text in [instance, lowering] {
        let error = refused(&wat::parse_str(text).expect("text"));
        assert!(matches!(error, LoadError::Composed(_)), "{error:?}");
    }
}

#[test]
fn an_expensive_handler_list_is_rejected_before_parsing() {
    let many = |n: usize| {
        let record = format!(r#"{{"name":"x","arguments":[{}1]}}"#, "1,".repeat(n));
        let mut list = (record.len() as u32).to_le_bytes().to_vec();
        list.extend(record.as_bytes());
        list
    };
    for list in [many(100_000), [many(30_000), many(30_000)].concat()] {
        let mut file = component(&source("echo"), &Parts::default());
        append_section(&mut file, "pgtq.handlers", &list);
        let error = refused(&file).to_string();
        assert!(error.contains("the limit is"), "{error}");
    }
}

#[test]
fn composed_components_are_rejected() {
    let with_code = r#"(component (component (core module)))"#;
    let deep = r#"(component (component (component)))"#;
    for text in [with_code, deep] {
        let error = refused(&wat::parse_str(text).expect("text"));
        assert!(matches!(error, LoadError::Composed(_)), "{error:?}");
    }
}

#[test]
fn the_list_of_handlers_is_checked() {
    let listed = |names: &[&str]| component(&source("echo"), &listing(names));
    assert_eq!(refused(&listed(&[])), LoadError::NoHandlers);
    let twice = LoadError::DuplicateHandler("a".into());
    assert_eq!(refused(&listed(&["a", "b", "a"])), twice);
    assert!(matches!(refused(&listed(&["a b"])), LoadError::BadName(_)));
    let many: Vec<String> = (0..1_001).map(|n| format!("h{n}")).collect();
    let parts = Parts {
        listed: many
            .iter()
            .map(|n| format!(r#"{{"name":"{n}"}}"#))
            .collect(),
        ..Parts::default()
    };
    let error = refused(&component(&source("echo"), &parts));
    assert_eq!(error, LoadError::TooManyHandlers(1_001));
    let needs = vec!["\"x\""; 1_001].join(",");
    let greedy = format!(r#"{{"name":"work","needs":{{"push":[{needs}]}}}}"#);
    let error = refused(&component(&source("echo"), &Parts::with(&[&greedy])));
    let LoadError::BadManifest(text) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        text,
        "handler `work` has 1001 needs, at most 1000 are allowed"
    );
    for junk in [&b"\xff\xff\xff\xff"[..], b"\x01\0", b"\x02\0\0\0{]"] {
        let mut module = core_module(&source("echo"), &Parts::default());
        append_section(&mut module, "pgtq.handlers", junk);
        assert!(matches!(refused(&module), LoadError::BadManifest(_)));
    }
}

#[tokio::test]
async fn a_plugins_description_must_match_its_file() {
    let sandbox = sandbox(small());
    let probe = async |manifest: String| {
        let parts = Parts {
            manifest,
            ..Parts::default()
        };
        let file = component(&source("echo"), &parts);
        let compiled = load(&sandbox, &file).await.expect("load");
        compiled.probe().await.expect_err("must be refused")
    };
    let other = probe(manifest("1.0.0", &["play"])).await;
    assert!(matches!(other, LoadError::Mismatch(_)), "{other:?}");
    let more = probe(manifest("1.0.0", &["work", "play"])).await;
    assert!(matches!(more, LoadError::Mismatch(_)), "{more:?}");
    let fuel = manifest("1.0.0", &["work"]).replace("\"}]", "\",\"limits\":{\"fuel\":1}}]");
    assert!(matches!(probe(fuel).await, LoadError::Mismatch(_)));
    assert!(matches!(probe("{".into()).await, LoadError::BadManifest(_)));
    let contract = probe(manifest("3.0.0", &["work"])).await;
    assert!(matches!(contract, LoadError::WrongContract { .. }));
    let none = probe(manifest("1.0.0", &[])).await;
    assert_eq!(none, LoadError::NoHandlers);
}

#[tokio::test]
async fn a_file_over_the_limit_is_rejected_unread() {
    let mut config = small();
    config.max_file_bytes = 100;
    let error = load(&sandbox(config), &guest("echo")).await.err();
    assert!(matches!(
        error,
        Some(LoadError::TooLarge { limit: 100, .. })
    ));
}
