//! TCP: a connection goes only where both sides name it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::guests::{attempt, failure};
use super::reach::{Reach, Scene, answers};
use crate::net::scripted::Scripted;
use pgtq_task::{ErrorKind, Grant, Limits};

/// The one error for streams of the C library of Rust's guests: EIO.
const ENDED: &str = "Uncategorized: I/O error (os error 29)";

/// Names used by the tests, and their addresses.
fn names() -> Arc<Scripted> {
    Scripted::new(&[
        ("smtp.example.com", &[&["127.0.0.1"]]),
        ("private.example.com", &[&["10.1.2.3"]]),
        ("both.example.com", &[&["93.184.216.34", "192.168.0.1"]]),
        ("metadata.example.com", &[&["169.254.169.254"]]),
        ("mapped.example.com", &[&["::ffff:169.254.169.254"]]),
        ("changing.example.com", &[&["127.0.0.1"], &["127.0.0.2"]]),
    ])
}

/// Requested and granted alike.
fn scene(tcp: &[&str], networks: &[&str]) -> Scene {
    let grant = Grant {
        tcp: tcp
            .iter()
            .map(|rule| rule.parse().expect("a rule"))
            .collect(),
        networks: networks
            .iter()
            .map(|n| n.parse().expect("a network"))
            .collect(),
        ..Grant::default()
    };
    Scene {
        needs: json!({ "tcp": tcp }),
        grant,
        resolver: names(),
        ..Scene::default()
    }
}

/// Serves every connection with `serve`; returns the port.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// As much of SMTP as a client needs.
async fn smtp(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 ready\r\n").await?;
    let mut in_mail = false;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let reply = match (line.trim_end(), in_mail) {
            ("DATA", _) => "354 go on\r\n",
            (".", true) => "250 queued\r\n",
            (_, true) => "",
            ("QUIT", _) => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        in_mail = line.trim_end() == "DATA" || in_mail && line.trim_end() != ".";
        stream.write_all(reply.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn silent(mut stream: TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {}
    Ok(())
}

async fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(&[b'x'; 1_000]).await?;
    }
}

/// Replaces the port in the shown text.
fn shown((answers, logs): (Vec<String>, Vec<String>), port: Option<u16>) -> String {
    let text = format!("{}\n---\n{}", answers.join("\n"), logs.join("\n"));
    match port {
        Some(port) => text.replace(&port.to_string(), "<port>"),
        None => text,
    }
}

#[tokio::test]
async fn a_mail_is_sent_line_by_line_through_the_standard_library() {
    let port = server(smtp).await;
    let address = format!("smtp.example.com:{port}");
    let scene = scene(&[&address], &["loopback"]);
    let (answers, logs) = scene
        .run(json!([
            {"connect": address},
            "hear",
            {"say": "EHLO there"},
            "hear",
            {"say": "DATA"},
            "hear",
            {"say": "Subject: hello"},
            {"say": ""},
            {"say": "."},
            "hear",
            {"say": "QUIT"},
            "hear",
            "close",
        ]))
        .await;
    let heard: Vec<&str> = answers
        .iter()
        .map(String::as_str)
        .filter(|a| a.len() > 6)
        .collect();
    assert_eq!(
        heard,
        [
            "connected",
            "220 ready",
            "250 fine",
            "354 go on",
            "250 queued",
            "221 bye"
        ]
    );
    assert!(logs.is_empty(), "{logs:?}");
}

#[tokio::test]
async fn an_address_is_reachable_if_a_rule_names_it() {
    let port = server(smtp).await;
    let address = format!("127.0.0.1:{port}");
    let (answers, logs) = scene(&[&address], &[])
        .run(json!([{"connect": address}, "hear"]))
        .await;
    assert_eq!(answers, ["connected", "220 ready"]);
    assert!(logs.is_empty(), "{logs:?}");
}

#[tokio::test]
async fn an_ungranted_connection_is_denied_and_the_log_says_what_to_write() {
    let port = server(smtp).await;
    let scene = scene(
        &[&format!("smtp.example.com:{port}"), "*.wide.example:25"],
        &["loopback"],
    );
    let said = scene
        .run(json!([
            // Never looked up, so no name resolves to it.
            {"connect": format!("127.0.0.1:{port}")},
            {"connect": "smtp.example.com:1"},
            {"connect": "other.example.com:25"},
            {"connect": "wide.example:25"},
            {"connect": format!("[::1]:{port}")},
            {"connect": format!("[::ffff:127.0.0.1]:{port}")},
            {"connect": "169.254.169.254:80"},
            {"connect": format!("0.0.0.0:{port}")},
            {"connect": format!("2130706433:{port}")},
            {"connect": "not a name:25"},
            {"connect": format!("smtp.example.com:{port}")},
        ]))
        .await;
    insta::assert_snapshot!(shown(said, Some(port)));
}

#[tokio::test]
async fn a_name_with_an_ungranted_address_is_denied() {
    let scene = scene(&["*:25"], &[]);
    let said = scene
        .run(json!([
            {"connect": "private.example.com:25"},
            {"connect": "both.example.com:25"},
            {"connect": "smtp.example.com:25"},
            {"connect": "metadata.example.com:25"},
            {"connect": "mapped.example.com:25"},
            {"connect": "nowhere.example.com:25"},
            {"connect": "127.0.0.1:25"},
            {"connect": "[::ffff:10.0.0.1]:25"},
            {"connect": "169.254.169.254:25"},
            {"connect": "0x7f.1:25"},
        ]))
        .await;
    insta::assert_snapshot!(shown(said, None));
}

#[tokio::test]
async fn a_rule_of_one_side_only_is_denied_with_the_missing_line() {
    let both = &["smtp.example.com:25", "127.0.0.1:1"];
    let granted = scene(both, &[]).grant;
    let asked = scene(both, &[]).needs;
    let steps = json!([{"connect": "smtp.example.com:25"}, {"connect": "127.0.0.1:1"}]);
    let not_asked = Scene {
        needs: json!({"sql": true}),
        grant: granted.clone(),
        ..Scene::default()
    };
    let not_granted = Scene {
        needs: asked,
        ..Scene::default()
    };
    let nothing = Scene {
        grant: granted,
        ..Scene::default()
    };
    let mut text = String::new();
    for scene in [not_asked, not_granted, nothing] {
        text.push_str(&shown(scene.run(steps.clone()).await, None));
        text.push_str("\n===\n");
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_flood_of_denials_does_not_fill_the_log() {
    let scene = scene(&["smtp.example.com:25"], &[]);
    let steps: Vec<Value> = (0..500)
        .map(|n| json!({"connect": format!("10.0.0.1:{n}")}))
        .collect();
    let (answers, logs) = scene.run(Value::Array(steps)).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.starts_with("PermissionDenied")),
        "{answers:?}"
    );
    let denied = logs.iter().filter(|line| line.starts_with("denied "));
    assert_eq!(denied.count(), 20);
}

/// The guest gets the first answer again, so that nothing changes between a check and a
/// connection.
#[tokio::test]
async fn a_changed_dns_answer_has_no_effect() {
    let port = server(smtp).await;
    let address = format!("changing.example.com:{port}");
    let mut scene = scene(&[&address], &["127.0.0.1/32"]);
    let names = names();
    scene.resolver = Arc::clone(&names) as _;
    let steps = json!([{"lookup": "changing.example.com"}, {"connect": address}, "hear",
        {"connect": format!("127.0.0.2:{port}")}]);
    let (answers, _) = scene.run(steps).await;
    assert_eq!(answers[..3], ["127.0.0.1", "connected", "220 ready"]);
    assert!(answers[3].starts_with("PermissionDenied"), "{answers:?}");
    assert_eq!(names.asked(), ["changing.example.com"]);
}

#[tokio::test]
async fn udp_and_listening_are_denied() {
    let scene = scene(&["*:*"], &["loopback", "private"]);
    let (answers, _) = scene
        .run(json!([
            {"udp": "127.0.0.1:53"},
            {"listen": "127.0.0.1:0"},
            {"listen": "0.0.0.0:0"},
            {"listen": "[::]:8080"},
        ]))
        .await;
    for answer in &answers {
        assert!(answer.starts_with("PermissionDenied"), "{answers:?}");
    }
}

#[tokio::test]
async fn more_bytes_than_the_budget_end_the_connection() {
    let (source, sink) = (server(endless).await, server(silent).await);
    let mut scene = scene(&["127.0.0.1:*"], &[]);
    scene.limits.tcp_bytes = 100_000;
    let reach = scene.set().await;
    let receive = json!([{"connect": format!("127.0.0.1:{source}")}, "drain", "hear"]);
    let (answers, logs) = reach.run(receive).await;
    let received = answers[1]
        .split(',')
        .next()
        .and_then(|n| n.parse::<u64>().ok());
    assert!(
        received.is_some_and(|n| (90_000..=100_000).contains(&n)),
        "{answers:?}"
    );
    assert!(answers[1].contains(ENDED), "{answers:?}");
    assert!(answers[2].starts_with(ENDED), "{answers:?}");
    assert_eq!(logs.len(), 1);
    assert!(logs[0].contains("raise `tcp_bytes`"), "{logs:?}");

    let send =
        json!([{"connect": format!("127.0.0.1:{sink}")}, {"send": 60_000}, {"send": 60_000}]);
    let (answers, logs) = reach.run(send).await;
    assert_eq!(answers[..2], ["connected", "sent"]);
    assert!(answers[2].starts_with(ENDED), "{answers:?}");
    assert!(logs[0].contains("raise `tcp_bytes`"), "{logs:?}");

    // Both directions count together.
    let both = json!([{"connect": format!("127.0.0.1:{sink}")}, {"send": 60_000},
        {"connect": format!("127.0.0.1:{source}")}, "drain"]);
    let (answers, _) = reach.run(both).await;
    let received = answers[3]
        .split(',')
        .next()
        .and_then(|n| n.parse::<u64>().ok());
    assert!(received.is_some_and(|n| n <= 40_000), "{answers:?}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_denied() {
    let port = server(silent).await;
    let address = format!("127.0.0.1:{port}");
    let mut scene = scene(&[&address], &[]);
    scene.limits.tcp_connections = 5;
    let reach = scene.set().await;
    let at_once = json!([{"connect_many": [address, 1_000]}]);
    let (answers, logs) = reach.run(at_once).await;
    assert!(answers[0].starts_with("5, then"), "{answers:?}");
    assert!(logs[0].contains("raise `tcp_connections`"), "{logs:?}");
    let one_by_one: Vec<Value> = (0..6)
        .flat_map(|_| [json!({"connect": address}), json!("close")])
        .collect();
    let (answers, _) = reach.run(Value::Array(one_by_one)).await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| *answer == "connected")
            .count(),
        5,
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_dropped_at_the_deadline() {
    let port = server(silent).await;
    let address = format!("127.0.0.1:{port}");
    let mut scene = scene(&[&address], &[]);
    scene.limits.timeout = Duration::from_millis(300);
    let reach = scene.set().await;
    let steps = json!([{"connect": address}, "hear"]).to_string();
    let report = reach.call(attempt(&steps)).await;
    assert_eq!(
        failure(&report).kind,
        ErrorKind::Timeout,
        "{:?}",
        report.outcome
    );
}

#[tokio::test]
async fn a_timeout_for_reading_is_set_through_the_standard_library() {
    let port = server(silent).await;
    let address = format!("127.0.0.1:{port}");
    let scene = scene(&[&address], &[]);
    let (answers, _) = scene
        .run(json!([{"connect": address}, {"read_timeout": 50}, "hear"]))
        .await;
    insta::assert_snapshot!(answers.join("\n"));
}

/// Counts the concurrent connections of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_wait_when_their_plugin_holds_its_share_of_connections() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let port = server(move |stream| {
        let (now, most) = (Arc::clone(&counters.0), Arc::clone(&counters.1));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let served = smtp(stream).await;
            now.fetch_sub(1, Ordering::SeqCst);
            served
        }
    })
    .await;
    let address = format!("127.0.0.1:{port}");
    let mut scene = scene(&[&address], &[]);
    // One plugin alone has half of them.
    scene.connections = 4;
    let reach: Arc<Reach> = Arc::new(scene.set().await);
    let steps = json!([{"connect": address}, "hear", {"say": "QUIT"}, "hear"]).to_string();
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let (reach, attempt) = (Arc::clone(&reach), attempt(&steps));
            tokio::spawn(async move { answers(reach.call(attempt).await) })
        })
        .collect();
    for running in attempts {
        let (answers, _) = running.await.expect("no panic");
        assert_eq!(answers, ["connected", "220 ready", "said", "221 bye"]);
    }
    // A connection that the guest closed may not have reached the server's end yet.
    assert!(most.load(Ordering::SeqCst) <= 4, "{most:?} at a time");
}

/// Connections that a server never ends, so that attempts hold them until their time
/// limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_plugin_never_block_another() {
    let open = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&open);
    let held = server(move |stream| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            silent(stream).await
        }
    })
    .await;
    let served = server(smtp).await;
    let (held, served) = (format!("127.0.0.1:{held}"), format!("127.0.0.1:{served}"));
    let mut scene = scene(&[&held, &served], &[]);
    scene.connections = 12;
    let greedy = Arc::new(scene.set().await);
    let other = greedy.also("other");
    let steps = json!([{"connect_many": [held, 20]}]).to_string();
    let attempts: Vec<_> = (0..4)
        .map(|_| {
            let (greedy, attempt) = (Arc::clone(&greedy), attempt(&steps));
            tokio::spawn(async move { greedy.call(attempt).await })
        })
        .collect();
    while open.load(Ordering::SeqCst) < 6 {
        tokio::task::yield_now().await;
    }
    let steps = json!([{"connect": served}, "hear"]);
    let (answers, _) = other.run(steps).await;
    assert_eq!(answers, ["connected", "220 ready"]);
    let waiting = attempts.iter().filter(|running| !running.is_finished());
    assert_eq!(waiting.count(), 4, "the other plugin waited for these");
    assert_eq!(open.load(Ordering::SeqCst), 6, "half of the connections");
    for running in attempts {
        running.abort();
    }
}

#[tokio::test]
async fn a_socket_needs_a_requested_and_granted_rule() {
    let port = server(smtp).await;
    let address = format!("127.0.0.1:{port}");
    let rule = |text: &str| text.parse().expect("a rule");
    let steps = json!([{"connect_many": [address, 20]}]);
    // Other needs and grants do not count, and neither do rules without a common
    // destination.
    for (needs, granted) in [
        (json!({"http": ["http://127.0.0.1"]}), vec![rule(&address)]),
        (json!({"tcp": [address]}), vec![]),
        (json!({"tcp": [address]}), vec![rule("127.0.0.2:25")]),
    ] {
        let mut scene = scene(&[], &[]);
        scene.needs = needs;
        scene.grant.tcp = granted;
        let (answers, logs) = scene.run(steps.clone()).await;
        assert!(
            answers[0].starts_with("0, then PermissionDenied"),
            "{answers:?}"
        );
        assert!(logs[0].starts_with("denied a TCP socket"), "{logs:?}");
    }
}

#[tokio::test]
async fn a_closed_connection_makes_room_for_another() {
    let port = server(smtp).await;
    let address = format!("127.0.0.1:{port}");
    let mut scene = scene(&[&address], &[]);
    scene.connections = 1;
    let steps = json!([{"connect": address}, "hear", "close", {"connect": address}, "hear"]);
    let (answers, _) = scene.run(steps).await;
    assert_eq!(
        answers,
        ["connected", "220 ready", "closed", "connected", "220 ready"]
    );
}

#[tokio::test]
async fn limits_of_zero_allow_nothing() {
    let port = server(smtp).await;
    let address = format!("127.0.0.1:{port}");
    let mut scene = scene(&[&address], &[]);
    scene.limits = Limits {
        tcp_connections: 0,
        ..Limits::default()
    };
    let (answers, _) = scene.run(json!([{"connect": address}])).await;
    assert_ne!(answers, ["connected"]);
}
