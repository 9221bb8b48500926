//! Runs `tests/guests/sdk`: servers, the database interface and the operator's secrets
//! see what an author writes with the SDK.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::guests::{attempt, load};
use crate::config::SandboxConfig;
use crate::run::sandbox::Sandbox;
use pgtq_setup::toolchain::{BuildOptions, CompilerOutput, Toolchain, build_plugin};
use pgtq_task::{
    Database, DatabaseFuture, Grant, GrantBook, GuestError, Limits, Outcome, Report, Secret,
    SecretGrant, SqlGrant,
};

/// Always runs cargo, which knows whether it is up to date.
fn built() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/sdk");
        let toolchain = Toolchain::ensure(&dir, &|line| eprintln!("{line}"))
            .unwrap_or_else(|missing| panic!("{missing}\n  help: {}", missing.fix));
        let options = BuildOptions {
            output: CompilerOutput::Keep,
            ..BuildOptions::default()
        };
        let built =
            build_plugin(&toolchain, &dir, &options).unwrap_or_else(|error| panic!("{error:?}"));
        std::fs::read(built.wasm_of("sdk-guest").expect("it is a plugin")).expect("a file")
    })
}

/// Runs one handler once, with everything it requests granted.
async fn run(handler: &str, args: Value, database: Arc<Port>) -> Report {
    let secret = SecretGrant {
        hosts: vec!["127.0.0.1".parse().expect("a host")],
        read: true,
    };
    let grant = Grant {
        http: vec!["http://127.0.0.1:*".parse().expect("a rule")],
        networks: vec!["loopback".parse().expect("a network")],
        sql: Some(SqlGrant {
            role: "guest".to_owned(),
            password: None,
            statement_timeout: std::time::Duration::from_secs(5),
            connections: 1,
        }),
        secrets: BTreeMap::from([("token".to_owned(), secret)]),
        ..Grant::default()
    };
    run_granted(handler, args, database, grant).await
}

async fn run_granted(handler: &str, args: Value, database: Arc<Port>, grant: Grant) -> Report {
    let book = GrantBook {
        plugins: BTreeMap::from([("sdk".to_owned(), Arc::new(grant))]),
        secrets: BTreeMap::from([("token".to_owned(), Secret::new("s3cret"))]),
    };
    let tests = std::env::current_exe().expect("a program");
    let config = SandboxConfig {
        slots: 2,
        defaults: Limits::default(),
        grants: Arc::new(ArcSwap::from_pointee(book)),
        cache_dir: Some(tests.with_file_name("compiled-guests")),
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::new(config).expect("a sandbox");
    let file = tokio::task::spawn_blocking(built).await.expect("no panic");
    let compiled = load(&sandbox, file).await.expect("the guest loads");
    let manifest = compiled.probe().await.expect("a manifest");
    let handlers = compiled.handlers(&manifest, "sdk");
    let found = handlers
        .iter()
        .find(|known| known.info().name.as_str() == handler);
    let mut attempt = attempt(&args.to_string());
    attempt.database = database;
    found.expect("it is there").call(attempt).await
}

fn result(report: &Report) -> Value {
    match &report.outcome {
        Outcome::Complete { result } => serde_json::from_str(result).expect("JSON"),
        other => panic!("{other:?}\n{:?}", report.record.logs),
    }
}

fn error(report: &Report) -> (&str, &str) {
    match &report.outcome {
        Outcome::Retry { failure, .. } | Outcome::Fail { failure } => {
            (failure.code.as_str(), failure.message.as_str())
        }
        other => panic!("{other:?}"),
    }
}

/// A database that records its requests.
#[derive(Debug, Default)]
struct Port {
    calls: Mutex<Vec<String>>,
    saved: Mutex<BTreeMap<String, String>>,
    /// Whether statements fail.
    broken: bool,
}

impl Port {
    fn note<T: Send + 'static>(
        &self,
        call: String,
        answer: Result<T, GuestError>,
    ) -> DatabaseFuture<'static, T> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
        Box::pin(std::future::ready(answer))
    }

    fn calls(&self) -> Vec<String> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, name: &str, value: &str) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.insert(name.to_owned(), value.to_owned());
    }
}

impl Database for Port {
    fn sql<'a>(
        &'a self,
        grant: &'a SqlGrant,
        _: &'a Limits,
        statement: &'a str,
        params: &'a str,
    ) -> DatabaseFuture<'a, String> {
        let answer = json!({
            "columns": [{"name": "id", "type": "int8"}, {"name": "photo", "type": "bytea"}],
            "rows": if statement == "row" { json!([[7, "\\x01ff"]]) } else { json!([]) },
            "affected": 3,
        });
        let answer = match self.broken {
            true => Err(GuestError::new("sql:23505", "duplicate key value")),
            false => Ok(answer.to_string()),
        };
        self.note(format!("{}: {statement} {params}", grant.role), answer)
    }

    fn checkpoint<'a>(&'a self, _: &'a Limits, value: &'a str) -> DatabaseFuture<'a, ()> {
        self.keep("", value);
        self.note(format!("checkpoint {value}"), Ok(()))
    }

    fn load<'a>(&'a self, name: &'a str) -> DatabaseFuture<'a, Option<String>> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let value = saved.get(name).cloned();
        drop(saved);
        self.note(format!("load {name}"), Ok(value))
    }

    fn save<'a>(
        &'a self,
        _: &'a Limits,
        name: &'a str,
        value: &'a str,
        with_sql: bool,
    ) -> DatabaseFuture<'a, ()> {
        self.keep(name, value);
        let when = if with_sql { "with SQL" } else { "at once" };
        self.note(format!("save {name} {value} {when}"), Ok(()))
    }
}

/// Serves one connection: reads the request to its end, then answers. Returns the
/// request's head and the length of its body.
fn serve(listener: &TcpListener, answer: &[u8]) -> (String, usize) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut seen = Vec::new();
    let head = loop {
        let mut piece = [0; 16 * 1024];
        let count = stream.read(&mut piece).expect("a request");
        assert!(count > 0, "the request ends too early");
        seen.extend_from_slice(&piece[..count]);
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    let mut rest = vec![0; length - (seen.len() - head)];
    stream.read_exact(&mut rest).expect("a body");
    write(&mut stream, answer);
    (text, length)
}

/// A client that stopped early may be gone.
fn write(stream: &mut TcpStream, answer: &[u8]) {
    let _ = stream.write_all(answer);
}

/// Lets the guest talk to a server that answers once.
async fn exchange(size: usize, answer: Vec<u8>) -> (Report, (String, usize)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::task::spawn_blocking(move || serve(&listener, &answer));
    let args = json!({"url": format!("http://127.0.0.1:{port}/a"), "size": size});
    let report = run("exchange", args, Arc::default()).await;
    (report, server.await.expect("a request came"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_sees_the_request_of_the_sdk() {
    let mut answer =
        b"HTTP/1.1 201 Created\r\nX-Kind: ones\r\nContent-Length: 3000000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 3_000_000, 1);
    let (report, (head, length)) = exchange(1_000_000, answer).await;
    assert_eq!(
        result(&report),
        json!({"status": 201, "kind": "ones", "read": 3_000_000, "sum": 3_000_000})
    );
    assert_eq!(length, 1_000_000);
    assert!(
        head.starts_with("post /a?a%20b=c%26d http/1.1\r\n"),
        "{head}"
    );
    for line in ["authorization: bearer s3cret", "x-one: 1"] {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_server_is_the_handlers_error() {
    let answer =
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\ncome back".to_vec();
    let (report, (_, length)) = exchange(0, answer).await;
    let (code, message) = error(&report);
    assert_eq!((code, length), ("http:503", 0));
    assert!(message.ends_with("/a returned 503: come back"), "{message}");
    let seven = Some(std::time::Duration::from_secs(7));
    assert!(matches!(report.outcome, Outcome::Retry { after, .. } if after == seven));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_body_is_an_error_that_names_the_request() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_vec();
    let (report, _) = exchange(0, answer).await;
    let (code, message) = error(&report);
    assert_eq!(code, "unavailable");
    assert!(message.starts_with("POST http://127.0.0.1:"), "{message}");
    assert!(
        message.ends_with("/a: the connection was closed before the response was complete"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_or_invalid_requests_fail_with_a_clear_error() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    for (url, code, words) in [
        (
            format!("http://127.0.0.1:{port}/"),
            "unavailable",
            ": connection refused or host unreachable",
        ),
        (
            "http://127.0.0.2/?key=1".to_owned(),
            "denied",
            "POST http://127.0.0.2/: denied: not declared or not granted; `pgtq logs ID` shows the \
             line to add",
        ),
        ("http://[::1".to_owned(), "invalid", ""),
        (
            "ftp://127.0.0.1/".to_owned(),
            "invalid",
            "a URL begins with `https://` or `http://`",
        ),
    ] {
        let report = run("exchange", json!({ "url": url }), Arc::default()).await;
        let (found, message) = error(&report);
        assert_eq!(found, code, "{message}");
        assert!(message.ends_with(words), "{message}");
        assert!(!message.contains("key"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_if_it_is_granted() {
    assert_eq!(result(&run("peek", json!([]), Arc::default()).await), 6);
    let report = run_granted("peek", json!([]), Arc::default(), Grant::default()).await;
    let (code, message) = error(&report);
    assert_eq!(code, "denied");
    assert!(
        message.contains("secrets.token = { read = true }"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_state_reach_the_database_in_order() {
    let port = Arc::new(Port::default());
    let report = run("tables", json!([]), Arc::clone(&port)).await;
    assert_eq!(
        result(&report),
        json!({"id": 7, "photo": [1, 255], "affected": 3, "state": "after"})
    );
    assert_eq!(
        port.calls(),
        [
            r#"save  "before" at once"#,
            r#"guest: row [1,"two","\\xff",null]"#,
            r#"save  "with it" with SQL"#,
            r#"checkpoint {"done":1}"#,
            r#"save  "after" at once"#,
            "guest: touch []",
            "load ",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_error_is_the_handlers_error() {
    let port = Port {
        broken: true,
        ..Port::default()
    };
    let report = run("tables", json!([]), Arc::new(port)).await;
    assert_eq!(error(&report), ("sql:23505", "duplicate key value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_step_is_kept() {
    let port = Arc::new(Port::default());
    for _ in 0..2 {
        assert_eq!(
            result(&run("steps", json!([]), Arc::clone(&port)).await),
            json!([11, 3])
        );
    }
    assert_eq!(
        port.calls(),
        [
            "load step/first",
            "save step/first 11 at once",
            "load step/second",
            "guest: touch []",
            "save step/second 3 with SQL",
            "load step/first",
            "load step/second",
        ]
    );
    assert_eq!(result(&run("facts", json!([]), port).await), false);
}
