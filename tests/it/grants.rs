//! Grants added, broken, revoked and restored while a runner runs, and their display by
//! each verb.

use std::fs;

use pgtq_tests::{HttpServer, Runner, wait_until};
use serde_json::Value;

use crate::fixture::Fixture;

/// The secret of the plugin `webhook`, which needs two grants: to send a request, and to
/// read the secret.
const VALUE: &str = "the value of the secret";

/// A fixture with a configuration file.
struct GrantFixture {
    fixture: Fixture,
    server: HttpServer,
}

impl GrantFixture {
    async fn new() -> Self {
        let fixture = GrantFixture {
            fixture: Fixture::with(&["webhook"]).await,
            server: HttpServer::start(|_| (204, vec![], vec![])),
        };
        fixture.write("");
        fs::write(fixture.path("signing"), format!("{VALUE}\n")).expect("a file is written");
        fixture
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.fixture.plugins.path().join(name)
    }

    fn file(&self) -> String {
        self.path("pgtq.toml").display().to_string()
    }

    /// Writes the configuration in place, as most editors do.
    fn write(&self, text: &str) {
        fs::write(self.path("pgtq.toml"), text).expect("a file is written");
    }

    /// All grants that the plugin needs.
    fn grants(&self) -> String {
        format!(
            "[grants.webhook]\nhttp = ['POST {}', 'POST https://hooks.example.com']\n\
             secrets.webhook_signing = {{ read = true }}\n\
             [secrets.webhook_signing]\nfile = 'signing'\n",
            self.server.url("/")
        )
    }

    fn runner(&self) -> Runner {
        self.fixture
            .runner_with_env(&[], &[("PGTQ_CONFIG", &self.file())])
    }

    /// Runs `pgtq` with this configuration.
    fn pgtq(&self, arguments: &[&str]) -> pgtq_tests::Finished {
        let file = self.file();
        let all = [arguments, &["--config", &file]].concat();
        self.fixture.pgtq(&all)
    }

    fn push(&self) -> String {
        let url = format!("url={}", self.server.url("/"));
        self.fixture
            .push(&["deliver", &url, "event=e", "body={}", "--retries", "0"])
    }

    /// Runs a new task. Returns its state and error code.
    async fn outcome(&self) -> String {
        let id = self.push();
        self.fixture.wait_all().await;
        let sql = format!("SELECT state, error_code FROM pgtq.tasks WHERE id = {id}");
        self.fixture.sql(&sql).await
    }
}

fn n_said(runner: &Runner, text: &str) -> usize {
    runner.stderr().matches(text).count()
}

#[tokio::test]
async fn a_new_grant_applies_to_the_next_attempt() {
    let fixture = GrantFixture::new().await;
    let mut runner = fixture.runner();
    runner.wait_for("plugin webhook.wasm declares needs that are not granted");
    runner.wait_for("secrets.webhook_signing = { hosts");
    assert_eq!(fixture.outcome().await, "failed|denied");

    fixture.write(&fixture.grants());
    runner.wait_for("plugin `webhook` was granted http, secrets");
    assert_eq!(fixture.outcome().await, "complete|-");

    // Replaces the secret atomically, as a deployment does.
    fs::write(fixture.path("new"), "rotated").expect("a file is written");
    fs::rename(fixture.path("new"), fixture.path("signing")).expect("a file is renamed");
    runner.wait_for("the value of secret `webhook_signing` changed");
    assert_eq!(fixture.outcome().await, "complete|-");

    fixture.write("# nothing any more\n");
    runner.wait_for("all grants of plugin `webhook` were revoked: http, secrets");
    assert_eq!(fixture.outcome().await, "failed|denied");
    let log = runner.stderr();
    assert!(!log.contains(VALUE) && !log.contains("rotated"), "{log}");
}

#[tokio::test]
async fn an_invalid_configuration_keeps_the_previous_grants() {
    let fixture = GrantFixture::new().await;
    fixture.write(&fixture.grants());
    let mut runner = fixture.runner();
    assert_eq!(fixture.outcome().await, "complete|-");

    let broken = format!("{}[grants.webhook]\n", fixture.grants());
    fixture.write(&broken);
    let complaint = "invalid configuration, keeping the previous grants";
    runner.wait_for(complaint);
    runner.wait_for("pgtq.toml` line 6");
    assert_eq!(fixture.outcome().await, "complete|-");
    // A mistake in another section.
    fixture.write(
        &fixture
            .grants()
            .replace("[secrets", "[limits]\nfule = 1\n[secrets"),
    );
    wait_until("the second mistake is reported", || {
        n_said(&runner, complaint) == 2
    });
    runner.wait_for("unknown setting `limits.fule`");
    assert_eq!(fixture.outcome().await, "complete|-");

    fixture.write(&format!("[run]\nname = 'x'\n{}", fixture.grants()));
    runner.wait_for("take effect after a restart: run.name");
    assert_eq!(
        n_said(&runner, complaint),
        2,
        "each mistake is reported once"
    );
    assert_eq!(fixture.outcome().await, "complete|-");
}

#[tokio::test]
async fn sighup_reloads_the_configuration_at_once() {
    let fixture = GrantFixture::new().await;
    fixture.write(&fixture.grants());
    let mut runner = fixture.runner();
    runner.hang_up();
    runner.wait_for("grants and secrets are unchanged");
    fixture.write("");
    runner.hang_up();
    runner.wait_for("all grants of plugin `webhook` were revoked");
    assert_eq!(fixture.outcome().await, "failed|denied");
}

#[tokio::test]
async fn a_secret_without_a_value_is_a_warning_and_an_error_on_use() {
    let fixture = GrantFixture::new().await;
    fixture.write(&fixture.grants());
    fs::remove_file(fixture.path("signing")).expect("a file is removed");
    let mut runner = fixture.runner();
    runner.wait_for("secret `webhook_signing` (");
    runner.wait_for("has no value: the file");
    assert_eq!(fixture.outcome().await, "failed|unavailable");
    fs::write(fixture.path("signing"), VALUE).expect("a file is written");
    runner.wait_for("secret `webhook_signing` now has a value");
    assert_eq!(fixture.outcome().await, "complete|-");
}

/// A renamed file is another plugin.
#[tokio::test]
async fn a_renamed_plugin_has_the_grants_of_its_new_name() {
    let fixture = GrantFixture::new().await;
    fixture.write(
        &fixture
            .grants()
            .replace("[grants.webhook]", "[grants.hooks]"),
    );
    let mut runner = fixture.runner();
    assert_eq!(fixture.outcome().await, "failed|denied");
    fs::rename(fixture.path("webhook.wasm"), fixture.path("hooks.wasm"))
        .expect("a file is written");
    runner.wait_for("plugin file has a new name");
    assert_eq!(fixture.outcome().await, "complete|-");
}

/// Requested limits above the caps are cut, and the lines that allow them are shown.
#[tokio::test]
async fn limits_cut_by_a_cap_are_logged_and_shown_by_inspect() {
    let fixture = GrantFixture::new().await;
    let wasm = fixture.path("webhook.wasm").display().to_string();
    let caps = format!("{}[caps]\ntimeout = '10s'\n", fixture.grants());
    fixture.write(&caps);
    let mut runner = fixture.runner();
    runner.wait_for(
        "requests more than is allowed, and runs with less: timeout = \"30s\" (allowed: ",
    );
    let lines = "[grants.webhook.limits]\ntimeout = \"30s\"\n";
    let inspect = || -> Value { json(&fixture.pgtq(&["inspect", &wasm, "--json"]).success()) };
    assert_eq!(text(&inspect(), "limits_toml"), lines);
    let output = fixture.pgtq(&["inspect", &wasm, "-o", "table"]);
    assert!(output.stderr.contains(lines.trim_end()), "{output:?}");
    // With these lines pasted.
    fixture.write(&format!("{caps}\n{lines}"));
    assert_eq!(text(&inspect(), "limits_toml"), "");
    runner.wait_for("grants of plugin `webhook` changed: limits");
}

/// Grants belong to the name of a file. Another file with the same handlers gets them only
/// on request.
#[tokio::test]
async fn a_deployed_file_gets_grants_of_another_name_only_on_request() {
    let fixture = GrantFixture::new().await;
    fixture.write(&fixture.grants());
    let plugins = fixture.fixture.plugins.path().display().to_string();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let file = elsewhere.path().join("third_party.wasm");
    fs::copy(fixture.path("webhook.wasm"), &file).expect("a file is copied");
    let file = file.display().to_string();
    let deploy = |more: &[&str]| {
        let arguments = ["deploy", &file, "--plugins", &plugins];
        fixture.pgtq(&[&arguments[..], more].concat())
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
    let two = fixture.pgtq(&["deploy", &file, &file, "--as", "webhook"]);
    assert_eq!(two.code, Some(2), "{two:?}");
}

/// Every verb shows the same needs, grants and denials, without values of secrets.
#[tokio::test]
async fn every_verb_shows_needs_granted_and_denied() {
    let fixture = GrantFixture::new().await;
    let wasm = fixture.path("webhook.wasm").display().to_string();
    let config = fixture
        .grants()
        .replace("secrets.webhook_signing = {", "# {");
    fixture.write(&config);
    let _runner = fixture.runner();

    let inspected: Value = json(&fixture.pgtq(&["inspect", &wasm, "--json"]).success());
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
    wait_until("the runner has logged what it denies", || {
        fixture.pgtq(&["plugins"]).success().contains(needs)
    });
    let listed = fixture.pgtq(&["plugins", "--handlers"]).success();
    assert!(listed.contains("\thttp,secrets\t"), "{listed}");
    let published = "SELECT plugins->0->'needs'->>'granted' FROM pgtq.runners";
    assert_eq!(fixture.fixture.sql(published).await, "0");

    let plugins = fixture.fixture.plugins.path().display().to_string();
    let mut all =
        config + "[grants.webhok]\nsql = 'x'\n[secrets.none]\nenv = 'PGTQ_TEST_NOT_SET'\n";
    all = format!("[plugins]\ndir = '{plugins}'\n{all}");
    fixture.write(&all);
    let output = fixture.pgtq(&["doctor", "--output", "jsonl"]);
    for expected in [
        "the environment variable PGTQ_TEST_NOT_SET is not set",
        "there is no webhok.wasm",
        "did you mean [grants.webhook]?",
        "webhook.wasm requests capabilities that are not granted: secret webhook_signing",
        "not granted to any plugin: none, webhook_signing",
    ] {
        assert!(output.stdout.contains(expected), "{expected}\n{output:?}");
    }
    let shown = fixture.pgtq(&["config", "show", "--origin"]).success();
    assert!(shown.contains("grants.webhook.http\tPOST http"), "{shown}");
    let place = fixture.path("signing").display().to_string();
    assert!(
        shown.contains(&format!("secrets.webhook_signing\tfile {place}\t")),
        "{shown}"
    );
    for output in [
        inspected.to_string(),
        listed,
        output.stdout,
        output.stderr,
        shown,
    ] {
        assert!(!output.contains(VALUE), "{output}");
    }
}

#[tokio::test]
async fn call_uses_the_grants_of_the_file_name_and_has_no_sql() {
    let fixture = GrantFixture::new().await;
    let wasm = fixture.path("webhook.wasm").display().to_string();
    let url = format!("url={}", fixture.server.url("/"));
    let call = ["call", wasm.as_str(), "deliver", &url, "event=e", "body={}"];
    let denied = fixture.pgtq(&call);
    assert_eq!(denied.code, Some(6));
    assert!(denied.stderr.contains("code: denied"), "{denied:?}");
    fixture.write(&fixture.grants());
    let done = fixture.pgtq(&call).success();
    assert!(done.contains("\"status\":204"), "{done}");
    assert_eq!(fixture.server.requests().len(), 1);

    let report = pgtq_tests::plugin("report").display().to_string();
    fixture.write("[grants.report]\nsql = 'reports'\n");
    let failed = fixture.pgtq(&["call", &report, "order_report"]);
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
