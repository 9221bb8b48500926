//! Grants that are written, broken, withdrawn and granted again while a runner runs,
//! and what each verb shows of them.

use std::fs;

use pgtq_tests::{HttpServer, Runner, wait_until};
use serde_json::Value;

use crate::scene::Scene;

/// The plugin `webhook` sends a request signed with a secret that it reads: two
/// things to be granted.
const VALUE: &str = "the value of the secret";

/// A scene with a configuration file that may change.
struct Granting {
    scene: Scene,
    server: HttpServer,
}

impl Granting {
    async fn new() -> Self {
        let granting = Granting {
            scene: Scene::with(&["webhook"]).await,
            server: HttpServer::start(|_| (204, vec![], vec![])),
        };
        granting.write("");
        fs::write(granting.path("signing"), format!("{VALUE}\n")).expect("a file is written");
        granting
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.scene.plugins.path().join(name)
    }

    fn file(&self) -> String {
        self.path("pgtq.toml").display().to_string()
    }

    /// Writes in place, as most editors do.
    fn write(&self, text: &str) {
        fs::write(self.path("pgtq.toml"), text).expect("a file is written");
    }

    /// All that the plugin needs.
    fn grants(&self) -> String {
        format!(
            "[grants.webhook]\nhttp = ['POST {}', 'POST https://hooks.example.com']\n\
             secrets.webhook_signing = {{ read = true }}\n\
             [secrets.webhook_signing]\nfile = 'signing'\n",
            self.server.url("/")
        )
    }

    fn runner(&self) -> Runner {
        self.scene
            .runner_under(&[], &[("PGTQ_CONFIG", &self.file())])
    }

    /// Runs `pgtq` with this configuration.
    fn pgtq(&self, arguments: &[&str]) -> pgtq_tests::Finished {
        let file = self.file();
        let all = [arguments, &["--config", &file]].concat();
        self.scene.pgtq(&all)
    }

    fn push(&self) -> String {
        let url = format!("url={}", self.server.url("/"));
        self.scene
            .push(&["deliver", &url, "event=e", "body={}", "--retries", "0"])
    }

    /// How a new task ends: its state and its word for programs.
    async fn ending(&self) -> String {
        let id = self.push();
        self.scene.wait_all().await;
        let sql = format!("SELECT state, error_code FROM pgtq.tasks WHERE id = {id}");
        self.scene.sql(&sql).await
    }
}

fn n_said(runner: &Runner, text: &str) -> usize {
    runner.stderr().matches(text).count()
}

#[tokio::test]
async fn a_grant_that_is_written_while_a_runner_runs_counts_for_the_next_attempt() {
    let granting = Granting::new().await;
    let mut runner = granting.runner();
    runner.wait_for("plugin webhook.wasm asks for what is not granted");
    runner.wait_for("secrets.webhook_signing = { hosts");
    assert_eq!(granting.ending().await, "failed|denied");

    granting.write(&granting.grants());
    runner.wait_for("plugin `webhook` was granted http, secrets");
    assert_eq!(granting.ending().await, "complete|-");

    // Another value of the secret, put in place as a deployment does.
    fs::write(granting.path("new"), "rotated").expect("a file is written");
    fs::rename(granting.path("new"), granting.path("signing")).expect("a file is renamed");
    runner.wait_for("the value of secret `webhook_signing` changed");
    assert_eq!(granting.ending().await, "complete|-");

    granting.write("# nothing any more\n");
    runner.wait_for("all grants of plugin `webhook` were revoked: http, secrets");
    assert_eq!(granting.ending().await, "failed|denied");
    let said = runner.stderr();
    assert!(!said.contains(VALUE) && !said.contains("rotated"), "{said}");
}

#[tokio::test]
async fn a_broken_configuration_keeps_the_grants_that_were() {
    let granting = Granting::new().await;
    granting.write(&granting.grants());
    let mut runner = granting.runner();
    assert_eq!(granting.ending().await, "complete|-");

    let broken = format!("{}[grants.webhook]\n", granting.grants());
    granting.write(&broken);
    let complaint = "invalid configuration, keeping the previous grants";
    runner.wait_for(complaint);
    runner.wait_for("pgtq.toml` line 6");
    assert_eq!(granting.ending().await, "complete|-");
    // A slip in any other section is one, too.
    granting.write(
        &granting
            .grants()
            .replace("[secrets", "[limits]\nfule = 1\n[secrets"),
    );
    wait_until("the second mistake is told", || {
        n_said(&runner, complaint) == 2
    });
    runner.wait_for("unknown setting `limits.fule`");
    assert_eq!(granting.ending().await, "complete|-");

    granting.write(&format!("[run]\nname = 'x'\n{}", granting.grants()));
    runner.wait_for("take effect after a restart: run.name");
    assert_eq!(n_said(&runner, complaint), 2, "each mistake is told once");
    assert_eq!(granting.ending().await, "complete|-");
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_at_once_and_ends_nothing() {
    let granting = Granting::new().await;
    granting.write(&granting.grants());
    let mut runner = granting.runner();
    runner.hang_up();
    runner.wait_for("grants and secrets are unchanged");
    granting.write("");
    runner.hang_up();
    runner.wait_for("all grants of plugin `webhook` were revoked");
    assert_eq!(granting.ending().await, "failed|denied");
}

#[tokio::test]
async fn a_secret_without_a_value_is_a_warning_and_an_error_of_those_who_use_it() {
    let granting = Granting::new().await;
    granting.write(&granting.grants());
    fs::remove_file(granting.path("signing")).expect("a file is removed");
    let mut runner = granting.runner();
    runner.wait_for("secret `webhook_signing` (");
    runner.wait_for("has no value: the file");
    assert_eq!(granting.ending().await, "failed|unavailable");
    fs::write(granting.path("signing"), VALUE).expect("a file is written");
    runner.wait_for("secret `webhook_signing` now has a value");
    assert_eq!(granting.ending().await, "complete|-");
}

/// A renamed file is another plugin to the operator.
#[tokio::test]
async fn a_renamed_plugin_has_the_grants_of_its_new_name() {
    let granting = Granting::new().await;
    granting.write(
        &granting
            .grants()
            .replace("[grants.webhook]", "[grants.hooks]"),
    );
    let mut runner = granting.runner();
    assert_eq!(granting.ending().await, "failed|denied");
    fs::rename(granting.path("webhook.wasm"), granting.path("hooks.wasm"))
        .expect("a file is written");
    runner.wait_for("plugin file has a new name");
    assert_eq!(granting.ending().await, "complete|-");
}

/// What a handler asks for beyond the caps is cut, and the lines that allow it are told.
#[tokio::test]
async fn what_a_cap_cuts_is_logged_at_loading_and_shown_by_inspect() {
    let granting = Granting::new().await;
    let wasm = granting.path("webhook.wasm").display().to_string();
    let caps = format!("{}[caps]\ntimeout = '10s'\n", granting.grants());
    granting.write(&caps);
    let mut runner = granting.runner();
    runner.wait_for(
        "asks for more than it is allowed, and runs with less: timeout = \"30s\" (allowed: ",
    );
    let lines = "[grants.webhook.limits]\ntimeout = \"30s\"\n";
    let inspect = || -> Value { json(&granting.pgtq(&["inspect", &wasm, "--json"]).success()) };
    assert_eq!(text(&inspect(), "limits_toml"), lines);
    let said = granting.pgtq(&["inspect", &wasm, "-o", "table"]);
    assert!(said.stderr.contains(lines.trim_end()), "{said:?}");
    // As pasted.
    granting.write(&format!("{caps}\n{lines}"));
    assert_eq!(text(&inspect(), "limits_toml"), "");
    runner.wait_for("grants of plugin `webhook` changed: limits");
}

/// Grants go by the file's name: a stranger with the same handlers gets none of them
/// unless the operator says so.
#[tokio::test]
async fn a_deploy_gives_no_file_the_grants_of_another_name_unless_told_to() {
    let granting = Granting::new().await;
    granting.write(&granting.grants());
    let plugins = granting.scene.plugins.path().display().to_string();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let stranger = elsewhere.path().join("third_party.wasm");
    fs::copy(granting.path("webhook.wasm"), &stranger).expect("a file is copied");
    let stranger = stranger.display().to_string();
    let deploy = |more: &[&str]| {
        let words = ["deploy", &stranger, "--plugins", &plugins];
        granting.pgtq(&[&words[..], more].concat())
    };
    for more in [&[][..], &["--dry-run"]] {
        let refused = deploy(more);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for expected in [
            "would replace webhook.wasm and get what [grants.webhook] grants:",
            "secrets.webhook_signing: may be read",
            "--as webhook",
        ] {
            assert!(refused.stderr.contains(expected), "{refused:?}");
        }
    }
    deploy(&["--as", "webhook"]).success();
    let two = granting.pgtq(&["deploy", &stranger, &stranger, "--as", "webhook"]);
    assert_eq!(two.code, Some(2), "{two:?}");
}

/// GrantReport, granted and refused, the same from every verb, and never a value.
#[tokio::test]
async fn every_verb_shows_what_is_asked_granted_and_refused() {
    let granting = Granting::new().await;
    let wasm = granting.path("webhook.wasm").display().to_string();
    let config = granting
        .grants()
        .replace("secrets.webhook_signing = {", "# {");
    granting.write(&config);
    let _runner = granting.runner();

    let inspected: Value = json(&granting.pgtq(&["inspect", &wasm, "--json"]).success());
    let answers: Vec<String> = inspected["asked"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|asked| {
            format!(
                "{} {}: {}",
                text(asked, "need"),
                text(asked, "what"),
                text(asked, "answer")
            )
        })
        .collect();
    assert_eq!(
        answers,
        [
            "http POST https://*:*: partly",
            "http POST http://*:*: partly",
            "secret webhook_signing: refused"
        ]
    );
    assert_eq!(
        text(&inspected, "toml"),
        "[grants.webhook]\nsecrets.webhook_signing = { hosts = [\"HOST\"] }   # its value: env or file below [secrets.webhook_signing]\n"
    );

    let needs = "0 of 3 granted, 2 partially; denied: secret webhook_signing";
    wait_until("the runner has told what it refuses", || {
        granting.pgtq(&["plugins"]).success().contains(needs)
    });
    let listed = granting.pgtq(&["plugins", "--handlers"]).success();
    assert!(listed.contains("\thttp,secrets\t"), "{listed}");
    let published = "SELECT plugins->0->'needs'->>'granted' FROM pgtq.runners";
    assert_eq!(granting.scene.sql(published).await, "0");

    let plugins = granting.scene.plugins.path().display().to_string();
    let mut all =
        config + "[grants.webhok]\nsql = 'x'\n[secrets.none]\nenv = 'PGTQ_TEST_NOT_SET'\n";
    all = format!("[plugins]\ndir = '{plugins}'\n{all}");
    granting.write(&all);
    let said = granting.pgtq(&["doctor", "--output", "jsonl"]);
    for expected in [
        "the environment variable PGTQ_TEST_NOT_SET is not set",
        "there is no webhok.wasm",
        "did you mean [grants.webhook]?",
        "webhook.wasm requests capabilities that are not granted: secret webhook_signing",
        "not granted to any plugin: none, webhook_signing",
    ] {
        assert!(said.stdout.contains(expected), "{expected}\n{said:?}");
    }
    let shown = granting.pgtq(&["config", "show", "--origin"]).success();
    assert!(shown.contains("grants.webhook.http\tPOST http"), "{shown}");
    let place = granting.path("signing").display().to_string();
    assert!(
        shown.contains(&format!("secrets.webhook_signing\tfile {place}\t")),
        "{shown}"
    );
    for output in [
        inspected.to_string(),
        listed,
        said.stdout,
        said.stderr,
        shown,
    ] {
        assert!(!output.contains(VALUE), "{output}");
    }
}

#[tokio::test]
async fn call_has_the_grants_of_the_files_name_and_no_sql() {
    let granting = Granting::new().await;
    let wasm = granting.path("webhook.wasm").display().to_string();
    let url = format!("url={}", granting.server.url("/"));
    let call = ["call", wasm.as_str(), "deliver", &url, "event=e", "body={}"];
    let denied = granting.pgtq(&call);
    assert_eq!(denied.code, Some(6));
    assert!(denied.stderr.contains("code: denied"), "{denied:?}");
    granting.write(&granting.grants());
    let done = granting.pgtq(&call).success();
    assert!(done.contains("\"status\":204"), "{done}");
    assert_eq!(granting.server.requests().len(), 1);

    let report = pgtq_tests::plugin("report").display().to_string();
    granting.write("[grants.report]\nsql = 'reports'\n");
    let failed = granting.pgtq(&["call", &report, "order_report"]);
    assert!(
        failed
            .stderr
            .contains("SQL is not available in `pgtq call`"),
        "{failed:?}"
    );
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
