use super::*;
use pgtq_task::{LogLevel, LogPage, LogTail};

/// A log with this many lines, some of which were dropped in the middle.
#[derive(Debug)]
struct Counted {
    written: u64,
    dropped: std::ops::Range<u64>,
}

impl LogTail for Counted {
    fn after(&self, after: u64, room: LogPageLimit) -> LogPage {
        let kept = (after + 1..=self.written).filter(|n| !self.dropped.contains(n));
        LogPage {
            lines: kept.take(room.lines).map(|n| (n, line(n))).collect(),
            dropped: self.dropped.clone(),
            now_ms: 0,
        }
    }
}

fn line(number: u64) -> LogLine {
    LogLine {
        at_ms: number,
        level: LogLevel::Info,
        message: number.to_string(),
        fields: None,
        dropped: None,
    }
}

fn attempt(task: i64, written: u64, dropped: std::ops::Range<u64>) -> LongRunning {
    let signal = Signal::default();
    signal.share_log(Arc::new(Counted { written, dropped }));
    LongRunning {
        claim: ClaimId(1),
        task: TaskId(task),
        signal: Arc::new(signal),
    }
}

/// The tasks served, with how many lines each, as one round that the database took.
fn serve(published: &PublishedLogs, long: &[LongRunning], round: u64) -> Vec<(i64, usize)> {
    let logs = published.new_lines(long);
    published.touch(long, &logs, round);
    published.sent(&logs);
    logs.iter()
        .map(|log| (log.task.0, log.lines.len()))
        .collect()
}

#[test]
fn a_round_publishes_up_to_its_limit_and_the_next_one_the_rest() {
    let published = PublishedLogs::default();
    let long: Vec<_> = (1..=10).map(|task| attempt(task, 1_000, 0..0)).collect();
    let mut served = Vec::new();
    for round in 1..=3 {
        let now = serve(&published, &long, round);
        assert!(now.iter().map(|(_, n)| n).sum::<usize>() <= ROUND_LIMIT.lines);
        served.extend(now);
    }
    served.sort_unstable();
    let all: Vec<(i64, usize)> = (1..=10).map(|task| (task, 1_000)).collect();
    assert_eq!(served, all);
    assert_eq!(serve(&published, &long, 4), []);
}

#[test]
fn constantly_logging_attempts_take_turns() {
    let published = PublishedLogs::default();
    let long = [
        attempt(1, u64::MAX - 1, 0..0),
        attempt(2, u64::MAX - 1, 0..0),
    ];
    let served: Vec<i64> = (1..=4)
        .flat_map(|round| serve(&published, &long, round))
        .map(|(task, _)| task)
        .collect();
    assert_eq!(served, [1, 2, 1, 2]);
}

#[test]
fn lines_dropped_later_are_removed_once() {
    let published = PublishedLogs::default();
    serve(&published, &[attempt(7, 8, 5..5)], 1);
    // Lines 5 to 9 are dropped by now: 5 to 8 had been passed on.
    let dropping = [attempt(7, 12, 5..10)];
    let logs = published.new_lines(&dropping);
    assert_eq!(logs[0].dropped, 5..9);
    assert_eq!(logs[0].lines[0].0, 10);
    serve(&published, &dropping, 2);
    let more = published.new_lines(&[attempt(7, 13, 5..11)]);
    assert_eq!(more[0].dropped, 9..11);
}

#[test]
fn a_failed_round_is_repeated() {
    let published = PublishedLogs::default();
    let long = [attempt(7, 3, 0..0)];
    let logs = published.new_lines(&long);
    published.touch(&long, &logs, 1);
    assert_eq!(published.new_lines(&long)[0].lines.len(), 3);
    // Its lines may be there all the same: they are removed with its end.
    assert_eq!(published.ended(|_| false), [(ClaimId(1), TaskId(7))]);
}

#[test]
fn lines_of_an_ended_attempt_are_removed_and_those_of_a_lost_one_stay() {
    let published = PublishedLogs::default();
    let long = [
        attempt(1, 1, 0..0),
        attempt(2, 1, 0..0),
        attempt(3, 1, 0..0),
    ];
    serve(&published, &long, 1);
    long[1].signal.stop(StopReason::Lost);
    let ended = published.ended(|(_, task)| task == TaskId(3));
    assert_eq!(ended, [(ClaimId(1), TaskId(1))]);
    published.forget(&ended);
    assert_eq!(published.ended(|_| false), [(ClaimId(1), TaskId(3))]);
}
