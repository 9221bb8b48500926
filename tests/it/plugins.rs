//! The example plugins, run by a real runner with real inputs.

use std::fs;
use std::path::Path;

use pgtq_tests::{cli, cli_of, plugin, program, repository};

use crate::fixture::Fixture;
use crate::tasks::database;

/// The outcome of every `flaky` handler, with the first line of its message; the other
/// lines are a backtrace.
const ENDS: &str = "SELECT handler, state, coalesce(error_kind, '-'), attempts, \
    left(split_part(coalesce(error_message, result::text), E'\\n', 1), 100) \
    FROM pgtq.tasks WHERE parent IS NULL ORDER BY handler COLLATE \"C\"";

#[tokio::test]
async fn hello_adds_and_greets() {
    let fixture = Fixture::with(&["hello"]).await;
    let _runner = fixture.runner(&[]);
    let sum = fixture.pgtq(&["push", "add_numbers", "a=2", "b=3", "--wait"]);
    assert_eq!(sum.success(), "5");
    let greeting = fixture
        .pgtq(&["push", "greet", "name=Ada", "--wait"])
        .success();
    let greeting: serde_json::Value = serde_json::from_str(&greeting).unwrap();
    assert_eq!(greeting["text"], "Hello, Ada!");
}

#[tokio::test]
async fn markdown_renders_the_readme_of_this_repository() {
    let fixture = Fixture::with(&["markdown"]).await;
    let _runner = fixture.runner(&[]);
    let text = format!("text=@{}", repository().join("README.md").display());
    let page = fixture
        .pgtq(&["push", "markdown", &text, "--wait"])
        .success();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["title"], "pgtq");
    let html = page["html"].as_str().unwrap();
    assert!(
        html.contains("<h2>Try it</h2>") && html.contains("<table>"),
        "{html}"
    );
    assert!(html.contains("<code class=\"language-sh\">"), "{html}");
}

#[tokio::test]
async fn images_makes_thumbnails_of_a_png_and_a_jpeg() {
    let fixture = Fixture::with(&["images"]).await;
    let _runner = fixture.runner(&[]);
    let samples = repository().join("plugins/images/samples");
    for sample in ["dusk.png", "mountains.jpg"] {
        let file = fs::read(samples.join(sample)).unwrap();
        // The database encodes base64, so that the test needs no library.
        let sql = "SELECT pgtq.push('thumbnail', json_build_object('image', \
            translate(encode($1::bytea, 'base64'), E'\\n', ''), 'edge', 64)::text)";
        let id: i64 = fixture
            .client
            .query_one(sql, &[&file])
            .await
            .unwrap()
            .get(0);
        fixture.wait_all().await;
        let sql = format!(
            "SELECT state, greatest((result::jsonb->>'width')::int, (result::jsonb->>'height')::int), \
             encode(substr(decode(result::jsonb->>'png', 'base64'), 2, 3), 'escape'), error_message \
             FROM pgtq.tasks WHERE id = {id}"
        );
        assert_eq!(fixture.sql(&sql).await, "complete|64|PNG|-", "{sample}");
    }
}

#[tokio::test]
async fn every_flaky_handler_has_its_documented_outcome() {
    let fixture = Fixture::with(&["flaky"]).await;
    let _runner = fixture.runner(&[]);
    let handlers = fixture.sql("SELECT DISTINCT name FROM pgtq.handlers").await;
    assert!(handlers.lines().count() >= 24, "{handlers}");
    for handler in handlers.lines() {
        let args = match handler {
            "flaky.divide" => "[1, 0]",
            "flaky.sometimes" => r#"{"out_of": 1000000}"#,
            _ => "{}",
        };
        fixture
            .sql(&format!("SELECT pgtq.push('{handler}', '{args}')"))
            .await;
    }
    fixture.wait_all().await;
    let children = "SELECT count(*) FROM pgtq.tasks WHERE parent IS NOT NULL";
    assert_eq!(
        fixture.sql(children).await,
        "0",
        "a failed task has children"
    );
    insta::assert_snapshot!(fixture.sql(ENDS).await);
}

#[tokio::test]
async fn a_compilation_over_its_memory_limit_is_rejected_and_the_runner_survives() {
    let fixture = Fixture::with(&[]).await;
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().to_string_lossy().into_owned();
    let tight = [
        ("PGTQ_COMPILE_MEMORY", "16MiB"),
        ("PGTQ_CACHE", cache.as_str()),
    ];
    let mut runner = fixture.runner_with_env(&[], &tight);
    fs::copy(plugin("images"), fixture.plugins.path().join("images.wasm")).unwrap();
    let line = fixture.wait_file("images.wasm", "refused");
    insta::assert_snapshot!(line.rsplit('\t').next().unwrap_or_default());
    runner.terminate();
    assert!(runner.wait().success());
    // With the default limits, the child compiles the same file.
    let _roomy = fixture.runner_with_env(&[], &[("PGTQ_CACHE", cache.as_str())]);
    fixture.wait_file("images.wasm", "live");
}

/// The compiler runs out of memory at different points, with all threads or one.
#[test]
fn running_out_of_memory_while_compiling_is_reported_as_such() {
    let file = plugin("images").display().to_string();
    for mib in (16..=320).step_by(16) {
        let cache = tempfile::tempdir().unwrap();
        let mut program = program();
        program
            .env("PGTQ_CACHE", cache.path())
            .env("PGTQ_COMPILE_MEMORY", format!("{mib}MiB"));
        let called = cli_of(program, "", &["call", &file, "nothing"], "");
        let stderr = called.stderr;
        let refused = format!("compiling took more than {mib} MiB of memory and was stopped");
        assert!(
            stderr.contains(&refused) || mib > 128 && stderr.contains("no handler `nothing`"),
            "{mib} MiB: {stderr}"
        );
    }
}

/// The plugins are a separate workspace, because they are built for another target. This
/// runs their native tests, as `cargo test` does there.
#[test]
fn the_plugins_own_tests_pass_natively() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["test", "--workspace", "--locked", "--manifest-path"])
        .arg(repository().join("plugins/Cargo.toml"))
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins"))
        .output()
        .expect("cargo starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("numbers_are_added ... ok"), "{stdout}");
}

#[test]
fn a_dry_run_deploy_reports_and_installs_nothing() {
    let (database, _sql) = database();
    let folder = tempfile::tempdir().expect("a temporary directory is created");
    let plugins = folder.path().display().to_string();
    let file = plugin("hello").display().to_string();
    let deploy = ["deploy", &file, "--plugins", &plugins, "-o", "json"];
    let deploy_with = |more: &[&str]| {
        let out = cli(database.url(), &[&deploy[..], more].concat(), "").success();
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        json["deployed"].as_array().expect("a list").clone()
    };
    let dry = deploy_with(&["--dry-run"]);
    let installed = folder.path().join("hello.wasm");
    assert!(!installed.exists(), "nothing is installed");
    let real = deploy_with(&[]);
    assert!(installed.exists(), "it is installed");
    assert_eq!((dry.len(), real.len()), (1, 1));
    assert_eq!(dry[0]["file"], file);
    assert_eq!(real[0]["file"], installed.display().to_string());
    for field in ["digest", "replaced"] {
        assert_eq!(dry[0][field], real[0][field], "{field}");
    }
    assert!(dry[0]["digest"].is_string(), "{dry:?}");
}
