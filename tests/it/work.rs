//! Plugins with capabilities, with a real runner, its `pgtq.toml`, and servers on loopback
//! that record requests.

mod report;

use std::fs;

use hmac::{Hmac, KeyInit, Mac};
use pgtq_tests::{HttpRequest, HttpServer, Runner, SmtpServer, cli, plugin, repository};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fixture::Fixture;

/// Starts a runner with a `pgtq.toml` and secrets in its environment.
fn runner(fixture: &Fixture, toml: &str, env: &[(&str, &str)]) -> Runner {
    // In the plugin directory, where only `*.wasm` files are loaded.
    let file = fixture.plugins.path().join("pgtq.toml");
    fs::write(&file, toml).expect("a configuration is written");
    let file = file.display().to_string();
    let mut all = vec![("PGTQ_CONFIG", file.as_str())];
    all.extend(env);
    fixture.runner_with_env(&[], &all)
}

/// Pushes and waits for the result.
#[track_caller]
fn result(fixture: &Fixture, arguments: &[&str]) -> Value {
    let all = [&["push"], arguments, &["--wait=60s"]].concat();
    let text = fixture.pgtq(&all).success();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The state, attempts and last error code of a task.
async fn outcome(fixture: &Fixture, id: &str) -> String {
    let sql = format!("SELECT state, attempts, error_code FROM pgtq.tasks WHERE id = {id}");
    fixture.sql(&sql).await
}

/// Waits until the first attempt of a task has failed, then retries it now. Returns the
/// error code.
async fn retry_now(fixture: &Fixture, id: &str) -> String {
    let state = format!("SELECT state, attempts FROM pgtq.tasks WHERE id = {id}");
    fixture.wait_sql(&state, "scheduled|1").await;
    fixture.pgtq(&["retry", id]).success();
    fixture
        .sql(&format!(
            "SELECT error_code FROM pgtq.attempts WHERE task_id = {id}"
        ))
        .await
}

#[test]
fn the_golden_cases_of_the_plugins_pass_in_the_real_sandbox() {
    for (name, n_cases) in [("mailer", 2), ("webhook", 2), ("report", 2), ("images", 2)] {
        let file = plugin(name).display().to_string();
        let cases = repository().join("plugins").join(name).join("cases");
        let cases = cases.display().to_string();
        let output = cli("", &["test", &file, "--cases", &cases], "").success();
        assert_eq!(output.lines().count(), n_cases, "{output}");
    }
}

/// The grants for a mail server on loopback.
fn mail_grants(server: &SmtpServer) -> String {
    format!(
        "[grants.mailer]\ntcp = ['{}']\nsecrets.smtp_password = {{ read = true }}\n\
         [secrets.smtp_password]\nenv = 'SMTP_PASSWORD'\n",
        server.address()
    )
}

const PASSWORD: (&str, &str) = ("SMTP_PASSWORD", "hunter2-and-more");

#[tokio::test]
async fn a_mail_arrives_unchanged_at_a_real_server() {
    let server = SmtpServer::start(|_| None);
    let fixture = Fixture::with(&["mailer"]).await;
    let _runner = runner(&fixture, &mail_grants(&server), &[PASSWORD]);
    let text = "Dear Ada,\n.\n..two dots\n.hidden\nyours";
    let sent = result(
        &fixture,
        &[
            "send_mail",
            "to=Ada Lovelace <ada@example.com>",
            "from=shop@example.com",
            "subject=Größe 🎈",
            &format!("text={text}"),
            &format!("server=ada@{}", server.address()),
        ],
    );
    assert_eq!(sent["answer"], "2.0.0 queued as 4F2A");

    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    let (head, body) = mails[0].message.split_once("\r\n\r\n").expect("two parts");
    assert_eq!(mails[0].from, "shop@example.com");
    assert_eq!(mails[0].to, ["ada@example.com"]);
    assert!(
        head.contains("Subject: =?utf-8?B?R3LDtsOfZSDwn46I?="),
        "{head}"
    );
    assert!(
        head.contains("To: \"Ada Lovelace\" <ada@example.com>"),
        "{head}"
    );
    let id = sent["message_id"].as_str().expect("a text");
    assert!(head.contains(&format!("Message-ID: {id}\r\n")), "{head}");
    assert_eq!(body, format!("{}\r\n", text.replace('\n', "\r\n")));
    // "\0ada\0hunter2-and-more"
    let login = "AUTH PLAIN AGFkYQBodW50ZXIyLWFuZC1tb3Jl";
    assert!(server.commands().iter().any(|line| line == login));
}

#[tokio::test]
async fn temporary_mail_rejections_are_retried_and_permanent_ones_are_final() {
    let mut refusals = 0;
    let server = SmtpServer::start(move |command| {
        if command.contains("nobody") {
            return Some("550 5.1.1 no such user");
        }
        refusals += usize::from(command.starts_with("RCPT"));
        (command.starts_with("RCPT") && refusals == 1).then_some("450 4.7.1 greylisted")
    });
    let fixture = Fixture::with(&["mailer"]).await;
    let _runner = runner(&fixture, &mail_grants(&server), &[PASSWORD]);
    let server_is = format!("server={}", server.address());
    let push =
        |to: &str| fixture.push(&["send_mail", to, "subject=Hello", "text=World", &server_is]);
    let later = push("to=ada@example.com");
    assert_eq!(retry_now(&fixture, &later).await, "smtp:450");
    let never = push("to=nobody@example.com");
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &later).await, "complete|2|-");
    assert_eq!(outcome(&fixture, &never).await, "failed|1|smtp:550");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn a_mail_accepted_despite_an_error_is_resent_with_the_same_id() {
    let mut mails = 0;
    let server = SmtpServer::start(move |command| {
        mails += usize::from(command == ".");
        (command == "." && mails == 1).then_some("451 4.3.0 perhaps")
    });
    let fixture = Fixture::with(&["mailer"]).await;
    let _runner = runner(&fixture, &mail_grants(&server), &[PASSWORD]);
    let server_is = format!("server={}", server.address());
    let arguments = ["to=ada@example.com", "subject=s", "text=t", &server_is];
    let id = fixture.push(&[&["send_mail"], &arguments[..]].concat());
    assert_eq!(retry_now(&fixture, &id).await, "smtp:451");
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "complete|2|-");
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1], "both messages are equal");
}

#[tokio::test]
async fn a_mail_server_outside_the_grant_is_denied() {
    let server = SmtpServer::start(|_| None);
    let other = SmtpServer::start(|_| None);
    let fixture = Fixture::with(&["mailer"]).await;
    let mut runner = runner(&fixture, &mail_grants(&server), &[PASSWORD]);
    let id = fixture.push(&[
        "send_mail",
        "to=ada@example.com",
        "subject=s",
        "text=t",
        "--retries=0",
        &format!("server=ada@{}", other.address()),
    ]);
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "failed|1|denied");
    assert!(other.commands().is_empty());
    // The log shows the line to add, and not the password.
    runner.wait_for(&format!("\"{}\"]", other.address()));
    let shown = fixture.pgtq(&["logs", &id]).success() + &fixture.pgtq(&["show", &id]).success();
    assert!(shown.contains(&other.address()), "{shown}");
    assert!(!(shown + &runner.stderr()).contains(PASSWORD.1));
}

#[tokio::test]
async fn the_runner_inserts_the_key_for_a_mail_service() {
    let server = HttpServer::start(|_| (202, vec![], br#"{"id": "m_1"}"#.to_vec()));
    let fixture = Fixture::with(&["mailer"]).await;
    let grants = format!(
        "[grants.mailer]\nhttp = ['POST {}']\nsecrets.mail_api = {{ hosts = ['127.0.0.1'] }}\n\
         [secrets.mail_api]\nenv = 'MAIL_API_KEY'\n",
        server.url("/v3/")
    );
    let _runner = runner(
        &fixture,
        &grants,
        &[("MAIL_API_KEY", "key-of-the-operator")],
    );
    let url = format!("url={}", server.url("/v3/send"));
    let arguments = ["to=ada@example.com", "subject=Größe", "text=Hello", &url];
    let accepted = result(&fixture, &[&["send_mail_api"], &arguments[..]].concat());
    assert_eq!(accepted, json!({"status": 202, "id": "m_1"}));
    let request = server.requests().remove(0);
    assert_eq!(
        request.header("authorization"),
        "Bearer key-of-the-operator"
    );
    assert!(request.header("idempotency-key").starts_with("pgtq:"));
    let body: Value = serde_json::from_str(&request.text()).expect("JSON");
    assert_eq!(body["subject"], "Größe");
}

const SIGNING: (&str, &str) = ("SIGNING", "whsec_of_the_shop");

/// The grants for webhooks to a server on loopback.
fn webhook_grants(server: &HttpServer) -> String {
    format!(
        "[grants.webhook]\nhttp = ['POST {}']\nsecrets.webhook_signing = {{ read = true }}\n\
         [secrets.webhook_signing]\nenv = 'SIGNING'\n",
        server.url("/")
    )
}

/// Verifies a webhook as its receiver would.
#[track_caller]
fn assert_signed(request: &HttpRequest) {
    let signature = request.header("x-signature");
    let (time, digest) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING.1.as_bytes()).expect("any key");
    mac.update(format!("{time}.{}", request.text()).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let wanted: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, wanted, "{signature}");
}

#[tokio::test]
async fn a_signed_webhook_is_retried_after_the_receivers_delay() {
    let mut deliveries = 0;
    let server = HttpServer::start(move |_| {
        deliveries += 1;
        match deliveries {
            1 => (
                503,
                vec![("retry-after", "3600".to_owned())],
                b"busy".to_vec(),
            ),
            _ => (204, vec![], vec![]),
        }
    });
    let fixture = Fixture::with(&["webhook"]).await;
    let _runner = runner(&fixture, &webhook_grants(&server), &[SIGNING]);
    let url = format!("url={}", server.url("/hooks?customer=7"));
    let id = fixture.push(&["deliver", &url, "event=order.paid", r#"body:={"order": 7}"#]);
    // An hour, from the receiver, instead of seconds from the handler's policy.
    let due = format!("SELECT run_at - now() > '50 min' FROM pgtq.scheduled_tasks WHERE id = {id}");
    fixture.wait_sql(&due, "t").await;
    assert_eq!(retry_now(&fixture, &id).await, "http:503");
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "complete|2|-");

    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_signed(request);
        assert_eq!(request.path, "/hooks?customer=7");
        assert_eq!(request.header("x-webhook-id"), format!("pgtq:{id}"));
        assert_eq!(request.text(), r#"{"order":7}"#);
    }
}

#[tokio::test]
async fn status_410_is_a_final_error_of_a_webhook() {
    let server = HttpServer::start(|_| (410, vec![], vec![]));
    let fixture = Fixture::with(&["webhook"]).await;
    let _runner = runner(&fixture, &webhook_grants(&server), &[SIGNING]);
    let url = format!("url={}", server.url("/"));
    let id = fixture.push(&["deliver", &url, "event=a", "body=1"]);
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "failed|1|gone");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_thumbnail_of_a_remote_image_is_made() {
    let file = repository().join("plugins/images/samples/mountains.jpg");
    let file = fs::read(file).expect("the sample is there");
    let server = HttpServer::start(move |request| match request.path.as_str() {
        "/mountains" => (
            200,
            vec![("content-type", "text/plain".to_owned())],
            file.clone(),
        ),
        _ => (
            302,
            vec![("location", "http://169.254.169.254/".to_owned())],
            vec![],
        ),
    });
    let fixture = Fixture::with(&["images"]).await;
    let grants = format!("[grants.images]\nhttp = ['GET {}']\n", server.url("/"));
    let _runner = runner(&fixture, &grants, &[]);
    let url = format!("url={}", server.url("/mountains"));
    let small = result(&fixture, &["thumbnail_url", &url, "edge=64"]);
    assert_eq!(small["source"]["format"], "jpeg");
    let edges = [&small["width"], &small["height"]].map(|edge| edge.as_u64().expect("a number"));
    assert_eq!(edges.into_iter().max(), Some(64));

    // A redirect is not followed.
    let url = format!("url={}", server.url("/elsewhere"));
    let id = fixture.push(&["thumbnail_url", &url]);
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "failed|1|http:302");
    assert_eq!(server.requests().len(), 2);
}
