use super::*;

fn logs(lines: u32, bytes: u64) -> Logs {
    let limits = Limits {
        log_lines: lines,
        log_bytes: bytes,
        ..Limits::default()
    };
    Logs::new(
        &limits,
        Instant::now(),
        &MemoryAccount::new(limits.host_bytes),
    )
}

/// Writes the numbers from 1 to `last`, one per line.
fn count_to(logs: &mut Logs, last: u64) {
    for number in logs.written + 1..=last {
        let line = number.to_string();
        logs.write(LogLevel::Info, &line, "")
            .expect("below the flood");
    }
}

fn messages(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

/// Numbers and messages of a reader's lines.
fn read(logs: &Logs, after: u64, lines: usize, bytes: usize) -> Vec<(u64, String)> {
    let page = logs.page(after, LogPageLimit { lines, bytes });
    let lines = page.lines.into_iter();
    lines.map(|(number, line)| (number, line.message)).collect()
}

#[test]
fn the_first_and_last_lines_are_kept_with_the_gap_between() {
    let mut logs = logs(5, 1_000);
    count_to(&mut logs, 50);
    let (lines, dropped) = logs.take();
    let gap = "… 45 lines dropped here, over the log limit";
    assert_eq!(messages(&lines), ["1", "2", "3", gap, "49", "50"]);
    assert_eq!((lines[3].dropped, dropped), (Some(45), 45));
}

#[test]
fn a_log_within_its_limit_has_no_gap() {
    let mut logs = logs(5, 1_000);
    count_to(&mut logs, 5);
    let (lines, dropped) = logs.take();
    assert_eq!(messages(&lines), ["1", "2", "3", "4", "5"]);
    assert_eq!(dropped, 0);
}

#[test]
fn a_limit_of_one_line_keeps_the_first_and_of_none_nothing() {
    for (limit, kept) in [(1, 1), (0, 0)] {
        let mut logs = logs(limit, 1_000);
        count_to(&mut logs, 9);
        let (lines, dropped) = logs.take();
        let n_lines = lines.iter().filter(|line| line.dropped.is_none()).count();
        assert_eq!((n_lines, dropped), (kept, 9 - kept as u64));
    }
}

#[test]
fn a_flood_stops_at_ten_times_the_limit() {
    let mut logs = logs(3, 1_000);
    count_to(&mut logs, 30);
    assert_eq!(logs.write(LogLevel::Info, "x", ""), Err(HostStop::Logs));
    let (lines, dropped) = logs.take();
    assert_eq!((lines.len(), dropped), (4, 27));
}

#[test]
fn the_byte_limit_holds_whatever_the_lines_are() {
    let mut logs = logs(1_000, 100);
    for _ in 0..3 {
        logs.write(LogLevel::Info, &"x".repeat(70), "")
            .expect("fits alone");
    }
    logs.write(LogLevel::Info, "", "").expect("pushes out");
    logs.write(LogLevel::Info, &"y".repeat(200), "")
        .expect("fits nowhere");
    assert_eq!(logs.take().1, 5);

    let mut logs = self::logs(1_000, 100);
    for line in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        logs.write(LogLevel::Info, line, "").expect("fits");
    }
    // 17 bytes each: two in the first half, three in the rest.
    let (lines, dropped) = logs.take();
    assert_eq!((lines.len(), dropped), (6, 3));
    assert_eq!((&*lines[1].message, &*lines[3].message), ("b", "f"));
}

#[test]
fn a_reader_sees_each_line_once_and_the_gap_between() {
    let mut logs = logs(4, 1_000);
    count_to(&mut logs, 3);
    let all = read(&logs, 0, 100, 1_000);
    assert_eq!(all, [(1, "1".into()), (2, "2".into()), (3, "3".into())]);
    assert_eq!(read(&logs, 3, 100, 1_000), []);
    count_to(&mut logs, 9);
    let page = logs.page(
        3,
        LogPageLimit {
            lines: 100,
            bytes: 1_000,
        },
    );
    assert_eq!(page.dropped, 3..8);
    assert_eq!(
        read(&logs, 3, 100, 1_000),
        [(8, "8".into()), (9, "9".into())]
    );
    assert_eq!(read(&logs, 8, 100, 1_000), [(9, "9".into())]);
    assert_eq!(read(&logs, 0, 2, 1_000).len(), 2);
    assert_eq!(read(&logs, 0, 100, 2 * 17).len(), 2);
    logs.take();
    assert_eq!(read(&logs, 0, 100, 1_000), []);
}

#[test]
fn a_line_cannot_forge_another_or_control_a_terminal() {
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
fn the_panic_hook_output_is_the_panic_message() {
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
