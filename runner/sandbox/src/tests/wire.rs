//! TCP: a connection goes only where both sides name it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::reach::Scene;
use crate::net::scripted::Scripted;
use pgtq_task::Grant;

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
pub(super) fn scene(tcp: &[&str], networks: &[&str]) -> Scene {
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
pub(super) async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
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
pub(super) async fn smtp(stream: TcpStream) -> std::io::Result<()> {
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

pub(super) async fn silent(mut stream: TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {}
    Ok(())
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
async fn a_timeout_for_reading_is_set_through_the_standard_library() {
    let port = server(silent).await;
    let address = format!("127.0.0.1:{port}");
    let scene = scene(&[&address], &[]);
    let (answers, _) = scene
        .run(json!([{"connect": address}, {"read_timeout": 50}, "hear"]))
        .await;
    insta::assert_snapshot!(answers.join("\n"));
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
