//! TCP: bytes, connections and time have limits, and plugins share connections fairly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::guests::{attempt, failure};
use super::reach::{Reach, answers};
use super::wire::{scene, server, silent, smtp};
use pgtq_task::{ErrorKind, Limits};

/// The one error for streams of the C library of Rust's guests: EIO.
const ENDED: &str = "Uncategorized: I/O error (os error 29)";

async fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(&[b'x'; 1_000]).await?;
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
    assert!(logs[0].contains("raise `limits.tcp_bytes`"), "{logs:?}");

    let send =
        json!([{"connect": format!("127.0.0.1:{sink}")}, {"send": 60_000}, {"send": 60_000}]);
    let (answers, logs) = reach.run(send).await;
    assert_eq!(answers[..2], ["connected", "sent"]);
    assert!(answers[2].starts_with(ENDED), "{answers:?}");
    assert!(logs[0].contains("raise `limits.tcp_bytes`"), "{logs:?}");

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
    assert!(
        logs[0].contains("raise `limits.tcp_connections`"),
        "{logs:?}"
    );
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
