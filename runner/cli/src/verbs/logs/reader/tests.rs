use super::*;
use pgtq_task::LogLevel;

const TASK: TaskId = TaskId(7);

fn line(number: u64) -> LogLine {
    LogLine {
        at_ms: number,
        level: LogLevel::Info,
        message: number.to_string(),
        fields: None,
        dropped: None,
    }
}

fn live(claim: i64, numbers: impl IntoIterator<Item = u64>) -> Vec<LiveLine> {
    let one = |number| LiveLine {
        claim: ClaimId(claim),
        attempt: 1,
        number,
        line: line(number),
    };
    numbers.into_iter().map(one).collect()
}

fn ended(claim: i64, kind: &str, lines: &[LogLine]) -> AttemptRow {
    AttemptRow {
        number: 1,
        kind: kind.to_owned(),
        claim: Some(ClaimId(claim)),
        runner: None,
        error_code: None,
        error_message: None,
        error_details: None,
        backtrace: Vec::new(),
        logs: (!lines.is_empty()).then(|| serde_json::to_string(lines).expect("lines")),
        logs_dropped: 0,
        started_at: None,
        ended_at: None,
        fuel: None,
        peak_memory: None,
        wall_us: None,
        digest: None,
        texts_omitted: false,
    }
}

/// Formats items: numbers of lines, `-n` for a gap, `+` for a lost runner.
fn words(items: &[Item]) -> String {
    let word = |item: &Item| match item {
        Item::Line(_, line) => match line.dropped {
            Some(dropped) => format!("-{dropped}"),
            None => line.message.clone(),
        },
        Item::RunnerLost(_) => "+".to_owned(),
    };
    items.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_stored_log_continues_after_the_live_lines() {
    let mut reader = LogReader::default();
    assert_eq!(words(&reader.read(TASK, &[], &live(3, 1..=2))), "1 2");
    assert_eq!(reader.newest(TASK), (ClaimId(3), 2));
    // The stream may still exist when the log is stored.
    let stored = [ended(3, "complete", &[line(1), line(2), line(3)])];
    assert_eq!(words(&reader.read(TASK, &stored, &live(3, 1..=2))), "3");
    assert_eq!(words(&reader.read(TASK, &stored, &[])), "");
}

#[test]
fn lines_dropped_before_a_read_are_a_gap_and_no_line_is_repeated() {
    let mut reader = LogReader::default();
    assert_eq!(words(&reader.read(TASK, &[], &live(3, 1..=4))), "1 2 3 4");
    assert_eq!(words(&reader.read(TASK, &[], &live(3, 8..=9))), "-3 8 9");
    // Ten more, of which the stored log has the last two.
    let lines = [line(1), line(2), LogLine::gap(15, 17), line(18), line(19)];
    let stored = [ended(3, "error", &lines)];
    assert_eq!(words(&reader.read(TASK, &stored, &[])), "-8 18 19");
    assert_eq!(reader.newest(TASK), (ClaimId(3), 19));
}

#[test]
fn a_stored_log_without_a_live_reader_is_complete() {
    let mut reader = LogReader::default();
    let lines = [line(1), LogLine::gap(15, 17), line(17)];
    let stored = [ended(3, "error", &lines)];
    assert_eq!(words(&reader.read(TASK, &stored, &[])), "1 -15 17");
}

#[test]
fn lines_of_a_lost_runner_precede_the_next_attempt() {
    let mut reader = LogReader::default();
    let stored = [ended(3, "crash", &[]), ended(5, "error", &[line(1)])];
    let lines = [live(3, 1..=2), live(8, 1..=1)].concat();
    assert_eq!(words(&reader.read(TASK, &stored, &lines)), "1 2 + 1 1");
    assert_eq!(words(&reader.read(TASK, &stored, &lines)), "");
    assert_eq!(reader.newest(TASK), (ClaimId(8), 1));
}

#[test]
fn tasks_are_read_independently() {
    let mut reader = LogReader::default();
    reader.read(TASK, &[], &live(3, 1..=2));
    assert_eq!(reader.newest(TaskId(8)), (ClaimId(0), 0));
    assert_eq!(words(&reader.read(TaskId(8), &[], &live(3, 1..=2))), "1 2");
}
