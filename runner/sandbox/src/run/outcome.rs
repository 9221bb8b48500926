//! The outcome of an attempt, from what its guest returned or how it was stopped.

use std::time::Duration;

use crate::bindings::{Verdict, WireFailure};
use crate::json;
use crate::run::limit_text;
use crate::text::{clean, clean_text};
use pgtq_task::{ErrorKind, Failure, Limits, Outcome, StopReason};

/// Bytes of a failure's code that are kept.
const CODE_BYTES: usize = 128;
/// The maximum of a guest's delays: a year, in milliseconds.
const MAX_DELAY_MS: u64 = 365 * 24 * 3_600_000;

/// The outcome of an attempt that was stopped from outside.
pub(crate) fn stopped(stop: StopReason) -> Outcome {
    match stop {
        StopReason::Cancel => Outcome::Cancel {
            reason: "cancelled while it ran".to_owned(),
        },
        StopReason::Interrupt | StopReason::Lost => Outcome::Release,
    }
}

pub(super) fn retry(failure: Failure) -> Outcome {
    Outcome::Retry {
        failure,
        after: None,
    }
}

/// The outcome for a returned result.
pub(super) fn completed(result: String, limits: &Limits) -> Outcome {
    if result.len() as u64 > limits.result_bytes {
        let (kind, message) = limit_text::result_size(Some(result.len()), limits);
        return retry(Failure::new(kind, message));
    }
    match json::check(&result) {
        Ok(()) => Outcome::Complete { result },
        Err(error) => retry(Failure::new(
            ErrorKind::ResultJson,
            format!("returned something that is not JSON: {error}"),
        )),
    }
}

/// The outcome for a returned failure.
pub(super) fn failed(wire: &WireFailure, limits: &Limits) -> Outcome {
    let bytes = wire.message.len() + wire.details.as_ref().map_or(0, String::len);
    let delay = wire
        .delay_ms
        .map(|ms| Duration::from_millis(ms.min(MAX_DELAY_MS)));
    let failure = if bytes as u64 > limits.result_bytes {
        let (kind, message) = limit_text::result_size(Some(bytes), limits);
        Failure::new(kind, message)
    } else {
        failure_of(wire)
    };
    match wire.verdict {
        Verdict::Retry => Outcome::Retry {
            failure,
            after: delay,
        },
        Verdict::Fail => Outcome::Fail { failure },
        Verdict::Cancel => Outcome::Cancel {
            reason: failure.message,
        },
        Verdict::Snooze => match delay {
            Some(after) => Outcome::Snooze { after },
            None => retry(Failure::new(
                ErrorKind::Contract,
                "requested a snooze without a delay",
            )),
        },
    }
}

fn failure_of(wire: &WireFailure) -> Failure {
    let kind = match wire.code.as_str() {
        "panic" => ErrorKind::Panic,
        "arguments" => ErrorKind::Arguments,
        _ => ErrorKind::Error,
    };
    let details = wire.details.as_ref();
    Failure {
        kind,
        code: clean(&wire.code, CODE_BYTES),
        message: clean_text(&wire.message, usize::MAX),
        // Details that are not JSON are dropped; the failure is kept.
        details: details.filter(|text| json::check(text).is_ok()).cloned(),
        backtrace: Vec::new(),
    }
}
