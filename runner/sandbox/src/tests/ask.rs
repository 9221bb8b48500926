//! HTTP from inside a guest, through the SDK's client. The many kinds of denials are
//! tested with the host's client.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::guests::{Parts, attempt, component, failure, handler, sandbox, small, source};
use super::reach::{Scene, answers};
use pgtq_task::{ErrorKind, Grant, Limits, Outcome, SecretGrant};

/// Requests and is granted anything on this machine.
fn scene() -> Scene {
    let rules = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("a rule")).collect();
    Scene {
        needs: json!({"http": ["http://*:*"], "secrets": ["key"]}),
        grant: Grant {
            http: rules(&["http://127.0.0.1:*"]),
            ..Grant::default()
        },
        ..Scene::default()
    }
}

/// With a secret that may be read, and sent to this machine.
fn scene_with_secret() -> Scene {
    let mut scene = scene();
    let grant = SecretGrant {
        hosts: vec!["127.0.0.1".parse().expect("a host")],
        read: true,
    };
    scene.grant.secrets.insert("key".to_owned(), grant);
    scene.secrets = vec![("key", "hunter2-hunter2")];
    scene
}

/// A server, and the heads of the received requests.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicUsize>,
}

/// Reads a head, then lets `serve` answer.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let closed = Arc::new(AtomicUsize::new(0));
    let (heads, ends) = (Arc::clone(&seen), Arc::clone(&closed));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            heads.lock().expect("no panic").push(head);
            let answer = serve(stream);
            let ends = Arc::clone(&ends);
            tokio::spawn(async move {
                answer.await.ok();
                ends.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    Server { url, seen, closed }
}

async fn hello(mut stream: TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        .await
}

/// Sends without end, or `pieces` times 64 KiB.
async fn much(mut stream: TcpStream, pieces: usize) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        .await?;
    for _ in 0..pieces {
        stream.write_all(&[b'x'; 64 << 10]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_answered_and_the_guest_never_sees_the_secret() {
    let server = server(hello).await;
    let url = format!("{}/things?n=1", server.url);
    let bearer = "Bearer {{secret:key}}";
    let steps = json!([
        {"get": url},
        {"get_with": [url, "authorization", bearer]},
    ]);
    let (said, log) = scene_with_secret().run(steps).await;
    assert_eq!(said, ["200 hello", "200 hello"]);
    assert_eq!(log, [] as [&str; 0]);
    let seen = server.seen.lock().expect("no panic").join("");
    assert!(seen.starts_with("GET /things?n=1 HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("authorization: Bearer hunter2-hunter2\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_denial_is_an_error_value_and_the_log_says_what_to_write() {
    let server = server(hello).await;
    let steps = json!([
        {"get": "https://api.example.com/v1"},
        {"get": "http://169.254.169.254/latest/"},
        {"get": "http://2130706433/"},
        {"get_with": [server.url, "x", "{{secret:key}}"]},
        {"get_with": [server.url, "x", "a\r\nb: c"]},
        {"get": server.url},
    ]);
    let mut scene = scene();
    scene.grant.http.push("http://*".parse().expect("a rule"));
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    let (said, log) = scene.run(steps).await;
    let shown = format!("{}\n---\n{}", said.join("\n"), log.join("\n"));
    insta::assert_snapshot!(shown.replace(&port, "PORT"));
}

#[tokio::test]
async fn a_changed_grant_applies_to_the_next_attempt() {
    let server = server(hello).await;
    let steps = json!([{"get": server.url}]);
    let mut scene = scene();
    let granted = std::mem::take(&mut scene.grant);
    let reach = scene.set().await;
    let (said, _) = reach.run(steps.clone()).await;
    assert!(said[0].starts_with("denied: "), "{said:?}");
    reach.change_grant(granted);
    let (said, _) = reach.run(steps).await;
    assert_eq!(said, ["200 hello"]);
}

#[tokio::test]
async fn a_large_answer_streams_through_a_small_memory() {
    let server = server(|stream| much(stream, 512)).await;
    let mut scene = scene();
    scene.limits = Limits {
        memory: 4 << 20,
        http_bytes: 64 << 20,
        ..Limits::default()
    };
    let reach = scene.set().await;
    let (said, _) = reach.run(json!([{"count": server.url}])).await;
    assert_eq!(said, [(512 * (64 << 10)).to_string()]);
    // A guest that keeps all of it reaches its own limit.
    let report = reach
        .call(attempt(&json!([{"keep": server.url}]).to_string()))
        .await;
    // The guest's memory, and the host's memory for one exchange.
    assert!(report.record.usage.peak_memory <= 5 << 20);
    assert!(matches!(
        failure(&report).kind,
        ErrorKind::Memory | ErrorKind::Panic
    ));
}

#[tokio::test]
async fn more_bytes_than_the_budget_are_an_error_value() {
    let server = server(|stream| much(stream, usize::MAX)).await;
    let mut scene = scene();
    scene.limits.http_bytes = 1 << 20;
    let steps = json!([{"count": server.url}, {"get": server.url}]);
    let (said, log) = scene.run(steps).await;
    assert!(
        said.iter().all(|said| said.starts_with("limit: ")),
        "{said:?}"
    );
    assert!(log[0].contains("raise `limits.http_bytes`"), "{log:?}");
}

#[tokio::test]
async fn a_large_request_is_sent_whole() {
    let serve = |mut stream: TcpStream| async move {
        let mut body = vec![0; 1 << 20];
        stream.read_exact(&mut body).await?;
        hello(stream).await
    };
    let server = server(serve).await;
    let (said, _) = scene().run(json!([{"post": [server.url, 1 << 20]}])).await;
    assert_eq!(said, ["200 hello"]);
}

#[tokio::test]
async fn requests_cost_fuel_and_are_counted() {
    let server = server(hello).await;
    let mut scene = scene();
    scene.limits.http_requests = 3;
    let reach = scene.set().await;
    let steps = |n: usize| Value::Array(vec![json!({"get": server.url}); n]).to_string();
    let one = reach.call(attempt(&steps(1))).await.record.usage.fuel;
    let report = reach.call(attempt(&steps(4))).await;
    let four = report.record.usage.fuel;
    // Slow calls are also charged for their time.
    assert!(one >= 100_000 && four >= 4 * 100_000, "{one} and {four}");
    let (said, log) = answers(report);
    assert!(said[3].starts_with("limit: ") && log[0].contains("raise `limits.http_requests`"));
}

#[tokio::test]
async fn a_server_that_never_answers_ends_with_the_attempt() {
    let serve = |mut stream: TcpStream| async move {
        stream.read_to_end(&mut Vec::new()).await.map(|_| ())
    };
    let server = server(serve).await;
    let mut scene = scene();
    scene.limits.timeout = std::time::Duration::from_millis(300);
    let reach = scene.set().await;
    let report = reach
        .call(attempt(&json!([{"get": server.url}]).to_string()))
        .await;
    assert_eq!(failure(&report).kind, ErrorKind::Timeout);
    while server.closed.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn headers_that_are_too_large_are_an_error_value() {
    let server = server(hello).await;
    let large = "x".repeat(70_000);
    let steps = json!([
        {"get_with": [server.url, "x", large]},
        {"get_with": [server.url, "x", large]},
        {"get": server.url},
    ]);
    let (said, log) = scene().run(steps).await;
    for said in &said[..2] {
        assert!(said.starts_with("invalid: "), "{said}");
    }
    assert_eq!(said[2], "200 hello");
    assert_eq!(
        log,
        [
            "the headers of a request exceed 64 KiB, which is the limit; send large values in the body"
        ]
    );
}

#[tokio::test]
async fn headers_that_grow_too_large_are_an_error_value() {
    let http = "
        package wasi:http@0.2.0 {
            interface types {
                variant header-error { invalid-syntax, forbidden, immutable }
                resource fields {
                    constructor();
                    append: func(name: string, value: list<u8>) -> result<_, header-error>;
                    set: func(name: string, value: list<list<u8>>) -> result<_, header-error>;
                }
            }
        }";
    let wit = Parts::default().wit;
    let world = "world plugin {\n    import wasi:http/types@0.2.0;";
    let parts = Parts {
        wit: wit.replace("world plugin {", world) + http,
        ..Parts::default()
    };
    let guest = component(&source("large_headers"), &parts);
    let handler = handler(&sandbox(small()), &guest).await;
    let report = handler.call(attempt("[]")).await;
    let Outcome::Complete { result } = &report.outcome else {
        panic!("not complete: {:?}", report.outcome);
    };
    // One valid, and two rejected as forbidden.
    assert_eq!(result, r#""001111""#);
    assert_eq!(report.record.logs.len(), 1, "{:?}", report.record.logs);
}

#[tokio::test]
async fn a_secret_is_never_visible_to_users() {
    let reach = scene_with_secret().set().await;
    let shown = attempt(&json!([{"show": "key"}]).to_string());
    let signal = Arc::clone(&shown.signal);
    let mut reports = vec![reach.call(shown).await];
    let progress = format!("{:?}", signal.take_progress());
    for step in [json!({"panic_with": "key"}), json!({"fail_with": "key"})] {
        reports.push(reach.call(attempt(&json!([step]).to_string())).await);
    }
    let mut words = format!("{progress}\n");
    for report in reports {
        let (outcome, logs) = (report.outcome, report.record.logs);
        words += &format!("{outcome:#?}\n");
        for line in logs {
            let fields = line.fields.map(|fields| fields.to_string());
            words += &format!("{} {}\n", line.message, fields.unwrap_or_default());
        }
    }
    assert!(!words.contains("hunter2"), "{words}");
    for place in [
        "sent ",
        "\"key\":\"",
        "printed ",
        "complained ",
        "sending ",
        "lost ",
        "401 for ",
    ] {
        assert!(
            words.contains(&format!("{place}[secret:key]")),
            "{place} in {words}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_denied_secrets_does_not_fill_the_log() {
    let steps: Vec<Value> = (0..500).map(|n| json!({"show": format!("s{n}")})).collect();
    let (said, logs) = scene().run(Value::Array(steps)).await;
    assert!(said.iter().all(|said| said.starts_with("denied: ")));
    let told = logs.iter().filter(|line| line.starts_with("denied "));
    assert_eq!(told.count(), 20);
}

#[tokio::test]
async fn an_attempt_with_too_many_saves_gets_an_error() {
    let (said, _) = scene()
        .run(json!([{"save_many": 10_000}, {"save_many": 1}]))
        .await;
    // The ten thousandth still reaches the database, which is missing here.
    assert!(said[0].starts_with("unavailable: "), "{said:?}");
    assert!(
        said[1].starts_with("limit: ") && said[1].contains("at most 10000 values"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_returned_secret_is_never_stored() {
    let steps = json!([{"give": "key"}, {"save_secret": "key"}, {"push_secret": "key"}]);
    let reach = scene_with_secret().set().await;
    let report = reach.call(attempt(&steps.to_string())).await;
    assert!(report.record.children.is_empty());
    let (said, _) = answers(report);
    assert_eq!(said[0], "[secret:key]");
    assert!(
        said[1].starts_with("denied: the value contains a secret"),
        "{said:?}"
    );
    assert!(
        said[2].contains("the arguments contain a secret"),
        "{said:?}"
    );
}
