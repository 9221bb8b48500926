use super::*;

fn logs(lines: u32, bytes: u64) -> Logs {
    let limits = Limits {
        log_lines: lines,
        log_bytes: bytes,
        ..Limits::default()
    };
    Logs::new(&limits, Instant::now())
}

#[test]
fn lines_over_the_limit_are_counted_and_a_flood_stops() {
    let mut logs = logs(3, 1_000);
    for _ in 0..30 {
        logs.write(LogLevel::Info, "x", "")
            .expect("below the flood");
    }
    assert_eq!(logs.write(LogLevel::Info, "x", ""), Err(HostStop::Logs));
    let (lines, dropped) = logs.take();
    assert_eq!((lines.len(), dropped), (3, 28));
}

#[test]
fn the_byte_limit_holds_whatever_the_lines_are() {
    let mut logs = logs(1_000, 100);
    logs.write(LogLevel::Info, &"x".repeat(70), "")
        .expect("fits");
    logs.write(LogLevel::Info, &"x".repeat(70), "")
        .expect("dropped");
    logs.write(LogLevel::Info, "", "").expect("dropped too");
    assert_eq!(logs.take().0.len(), 1);
}

#[test]
fn a_line_cannot_forge_another_or_steer_a_terminal() {
    assert_eq!(clean("a\nb\u{1b}[31mc\0d\re\tf", 100), "a b[31mcd e f");
    assert_eq!(clean("ééé", 4), "éé…");
    assert_eq!(clean_text("a\nb\0", 100), "a\nb");
}

#[test]
fn fields_are_kept_only_as_an_object() {
    assert!(object(r#"{"a":1}"#).is_some());
    for bad in ["", "[1]", "{", r#"{"a":1} x"#, "1"] {
        assert!(object(bad).is_none(), "{bad}");
    }
    assert!(
        object(&format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(1000),
            "]".repeat(1000)
        ))
        .is_none()
    );
}

#[test]
fn what_a_panic_hook_prints_is_the_panic_message() {
    let mut logs = logs(10, 1_000);
    for line in [
        "thread 'main' panicked at src/lib.rs:3:5:",
        "no",
        "note: run with",
    ] {
        logs.write_stderr(line).expect("fits");
    }
    assert_eq!(
        logs.panic_message(),
        Some("thread 'main' panicked at src/lib.rs:3:5:\nno")
    );
}
