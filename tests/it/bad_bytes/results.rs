//! Valid and invalid JSON returned as results by a handler.

use std::fmt::Write;
use std::fs;

use pgtq_tests::{cli, plugin_dir, repository};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::bombs;
use crate::tasks::{UNFINISHED, database, runner, wait_for_finished};

/// Results that are stored unchanged.
fn good() -> Vec<String> {
    let mut all: Vec<String> = [
        r#"{"a":1,"a":2,"a":[]}"#,
        r#"{"":{"":{"":0}}}"#,
        "1e400",
        "-1e-400",
        "-0",
        "0.1000000000000000055511151231257827021181583404541015625",
        "123456789012345678901234567890123456789012345678901234567890",
        r#""\u0000""#,
        r#"{"\u0000":"\u0000"}"#,
        r#""\u007f\u0085\u202e""#,
        "\"\u{7f}\u{85}\u{202e}\u{fffe}\u{10ffff}\"",
        r#""\/\b\f""#,
        // Valid JSON that not every reader accepts.
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        " \t\r\n null \n",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(nested(128));
    all
}

/// Results that are rejected, and a part of the error.
fn bad() -> Vec<(Vec<u8>, &'static str)> {
    let mut all: Vec<(Vec<u8>, &str)> = [
        ("", "JSON"),
        (" ", "JSON"),
        ("[1,]", "JSON"),
        ("[NaN]", "JSON"),
        ("{'a':1}", "JSON"),
        ("1 2", "JSON"),
        ("01", "JSON"),
        ("+1", "JSON"),
        (".5", "JSON"),
        ("\u{feff}1", "JSON"),
        ("\"\u{0}\"", "JSON"),
        ("\"\u{1}\"", "JSON"),
        (r#""\x""#, "JSON"),
        (r#""\u12""#, "JSON"),
        ("\"", "JSON"),
        ("// no\n1", "JSON"),
    ]
    .map(|(text, word)| (text.as_bytes().to_vec(), word))
    .to_vec();
    all.push((nested(129).into_bytes(), "128 deep"));
    all.push((nested(5_000).into_bytes(), "128 deep"));
    all.push((vec![b'['; 5_000], "128 deep"));
    all.push((b"\"\xff\xfe\"".to_vec(), "utf-8"));
    all.push((b"\"\xed\xa0\x80\"".to_vec(), "utf-8"));
    all
}

fn nested(n: usize) -> String {
    format!("{}{}", "[".repeat(n), "]".repeat(n))
}

/// A plugin whose handler `work` returns the text with the number in its arguments.
fn shelf(texts: &[&[u8]]) -> Vec<u8> {
    let (mut data, mut choices) = (String::new(), String::new());
    // Beyond the memory that the prelude allocates.
    let mut at = 2 << 16;
    for (n, text) in texts.iter().enumerate() {
        let bytes: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(data, "(data (i32.const {at}) \"{bytes}\")").expect("a string");
        writeln!(
            choices,
            "(if (i32.eq (local.get $n) (i32.const {n}))
               (then (return (call $ok (i32.const {at}) (i32.const {})))))",
            text.len()
        )
        .expect("a string");
        at += text.len();
    }
    let code = format!(
        "{data}
        (func $run (param $h i32) (param $hl i32) (param $a i32) (param $al i32) (result i32)
          (local $n i32)
          (local.set $a (i32.add (local.get $a) (i32.const 1)))
          (local.set $al (i32.sub (local.get $al) (i32.const 2)))
          (loop $digits
            (if (local.get $al) (then
              (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10))
                (i32.sub (i32.load8_u (local.get $a)) (i32.const 48))))
              (local.set $a (i32.add (local.get $a) (i32.const 1)))
              (local.set $al (i32.sub (local.get $al) (i32.const 1)))
              (br $digits))))
          {choices}
          unreachable)"
    );
    let manifest = r#"{"contract":"1.0.0","plugin":{"name":"shelf","version":"1.0.0"},"handlers":[{"name":"work"}]}"#;
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect("a file is read");
    let text = read("tests/guests/prelude.wat")
        .replace("MEMORY", "4")
        .replace("MANIFEST", &manifest.replace('"', "\\22"))
        .replace("LENGTH", &manifest.len().to_string())
        .replace("GUEST", &code);
    let mut module = wat::parse_str(&text).expect("guest text");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("pgtq.wit", &read("sdk/contract/wit/pgtq.wit"));
    let world = resolve.select_world(&[package.expect("wit")], None);
    let world = world.expect("world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embed");
    module.extend(bombs::handlers(&[r#"{"name":"work"}"#]));
    module
}

#[test]
fn any_text_returned_as_a_result_is_stored_unchanged_or_rejected() {
    let (good, bad) = (good(), bad());
    let texts = good.iter().map(|text| text.as_bytes());
    let texts: Vec<&[u8]> = texts.chain(bad.iter().map(|(text, _)| &**text)).collect();
    let (database, sql) = database();
    let dir = plugin_dir(&[]);
    fs::write(dir.path().join("shelf.wasm"), shelf(&texts)).expect("a file is written");
    let mut runner = runner(database.url(), dir.path(), "", &[]);
    runner.wait_for("plugin shelf.wasm: live");
    for n in 0..texts.len() {
        sql.rows(&format!("SELECT pgtq.push('work', '[{n}]', retries => 0)"));
    }
    wait_for_finished(&sql, texts.len());
    let found = |what: &str, n: usize| {
        sql.row(&format!(
            "SELECT {what} FROM pgtq.history WHERE args::text = '[{n}]'"
        ))
    };
    for (n, text) in good.iter().enumerate() {
        assert_eq!(found("state", n), "complete", "{text:.60}");
        assert_eq!(found("result::text", n), *text);
        // It can be shown.
        let id = found("id", n);
        let shown = cli(database.url(), &["show", &id], "");
        assert_eq!(shown.code, Some(0), "{text:.60}: {shown:?}");
        let unprintable = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!shown.stdout.contains(unprintable), "{shown:?}");
        let read = cli(database.url(), &["show", &id, "--json"], "").success();
        let read: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&read);
        assert!(read.is_ok(), "{text:.60}: {read:?}");
    }
    for (n, (text, word)) in bad.iter().enumerate() {
        let end = found("state, attempts, error_message", good.len() + n);
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        assert!(
            end.starts_with("failed|1|") && end.contains(word),
            "{shown:?}: {end}"
        );
    }
    assert_eq!(sql.number(UNFINISHED), 0);
    assert!(runner.exited().is_none() && !runner.stderr().contains("panicked"));
    eprintln!("{} texts were stored, {} refused", good.len(), bad.len());
}
