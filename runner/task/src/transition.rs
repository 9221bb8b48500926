//! The central decision: the transition of a task when an attempt ends.

use std::time::Duration;

use pgtq_contract::RetryPolicy;

use crate::attempt::Task;
use crate::outcome::{ErrorKind, Failure, Outcome};
use crate::state::State;

/// Default limit of runner crashes before a task fails: three, as in Sidekiq's super_fetch.
pub const MAX_CRASHES: u32 = 3;

/// Minimum delay of retries and snoozes: a handler that always asks for an immediate retry would
/// otherwise fill the database with its attempts.
pub const MIN_DELAY: Duration = Duration::from_millis(100);

/// How the store moves a task after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// To history, complete; its children are pushed.
    Complete {
        /// JSON text.
        result: String,
    },
    /// To history, failed.
    Fail {
        /// The last failure.
        failure: Failure,
    },
    /// To history, cancelled.
    Cancel {
        /// The reason, for humans.
        reason: String,
    },
    /// Back to `scheduled` (or `runnable` without a delay); counts as an attempt.
    Retry {
        /// Counted from the time when the outcome is stored.
        delay: Duration,
        /// What went wrong.
        failure: Failure,
    },
    /// Back to `scheduled`; does not count as an attempt.
    Snooze {
        /// Counted from the time when the outcome is stored.
        delay: Duration,
    },
    /// Back to `runnable`; not counted and not recorded.
    Release,
    /// Back to `scheduled`: it could not run here now; does not count as an attempt.
    Defer {
        /// Counted from the time when the outcome is stored.
        delay: Duration,
    },
}

impl Transition {
    /// The task's state afterwards.
    pub fn state(&self) -> State {
        match self {
            Transition::Complete { .. } => State::Complete,
            Transition::Fail { .. } => State::Failed,
            Transition::Cancel { .. } => State::Cancelled,
            Transition::Retry { delay, .. } if delay.is_zero() => State::Runnable,
            Transition::Retry { .. } | Transition::Snooze { .. } | Transition::Defer { .. } => {
                State::Scheduled
            }
            Transition::Release => State::Runnable,
        }
    }
}

/// Decides. `cancelled` says that the task's cancellation was requested while it ran: then a
/// result is kept, and every other outcome becomes a cancellation. `jitter` is a random number
/// in `0.0..1.0`.
pub fn decide(
    task: &Task,
    policy: &RetryPolicy,
    outcome: Outcome,
    cancelled: bool,
    jitter: f64,
) -> Transition {
    match outcome {
        Outcome::Complete { result } => Transition::Complete { result },
        Outcome::Cancel { reason } => Transition::Cancel { reason },
        outcome if cancelled => Transition::Cancel {
            reason: cancel_reason(&outcome),
        },
        Outcome::Fail { failure } => Transition::Fail { failure },
        Outcome::Snooze { after } => Transition::Snooze {
            delay: after.max(MIN_DELAY),
        },
        Outcome::Release => Transition::Release,
        Outcome::Retry { failure, after } => {
            let number = task.attempts.saturating_add(1);
            let retries = task.retries.unwrap_or(policy.retries);
            if failure.kind == ErrorKind::Arguments || !retries.allows(number) {
                // A retry would fail in the same way.
                return Transition::Fail { failure };
            }
            let delay = after.unwrap_or_else(|| policy.backoff.delay(number, jitter));
            let delay = delay.max(MIN_DELAY);
            Transition::Retry { delay, failure }
        }
    }
}

/// Why a task was cancelled, with the handler's own message, if there is one.
fn cancel_reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { failure, .. } | Outcome::Fail { failure }
            if failure.kind == ErrorKind::Error =>
        {
            format!("cancelled while it ran: {}", failure.message)
        }
        _ => "cancelled while it ran".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Retries, TaskId};

    fn task(attempts: u32, retries: Option<Retries>) -> Task {
        Task {
            id: TaskId(1),
            queue: Name::default_queue(),
            handler: Name::default_queue(),
            priority: 0,
            args: "{}".into(),
            attempts,
            crashes: 0,
            retries,
            pushed_at: jiff::Timestamp::UNIX_EPOCH,
            due_at: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            parent: None,
            traits: None,
        }
    }

    fn error() -> Outcome {
        Outcome::Retry {
            failure: Failure::new(ErrorKind::Error, "no"),
            after: None,
        }
    }

    fn after(attempts: u32, retries: Option<Retries>, outcome: Outcome, cancelled: bool) -> State {
        decide(
            &task(attempts, retries),
            &RetryPolicy::default(),
            outcome,
            cancelled,
            0.5,
        )
        .state()
    }

    #[test]
    fn an_error_is_retried_until_the_retries_are_used_up() {
        assert_eq!(
            after(0, Some(Retries::Limited(1)), error(), false),
            State::Scheduled
        );
        assert_eq!(
            after(1, Some(Retries::Limited(1)), error(), false),
            State::Failed
        );
        assert_eq!(
            after(0, Some(Retries::Limited(0)), error(), false),
            State::Failed
        );
        assert_eq!(
            after(1_000_000, Some(Retries::Forever), error(), false),
            State::Scheduled
        );
    }

    #[test]
    fn the_tasks_own_count_wins_over_the_policy() {
        assert_eq!(after(19, None, error(), false), State::Scheduled);
        assert_eq!(after(20, None, error(), false), State::Failed);
        assert_eq!(
            after(20, Some(Retries::Limited(30)), error(), false),
            State::Scheduled
        );
    }

    #[test]
    fn wrong_arguments_fail_at_once() {
        let outcome = Outcome::Retry {
            failure: Failure::new(ErrorKind::Arguments, "no"),
            after: None,
        };
        assert_eq!(after(0, None, outcome, false), State::Failed);
    }

    #[test]
    fn a_cancelled_task_is_not_retried_but_keeps_a_result() {
        let fatal = Outcome::Fail {
            failure: Failure::new(ErrorKind::Error, "stopped half way"),
        };
        for outcome in [error(), fatal, Outcome::Release] {
            assert_eq!(after(0, None, outcome, true), State::Cancelled);
        }
        let complete = Outcome::Complete { result: "1".into() };
        assert_eq!(after(0, None, complete, true), State::Complete);
    }

    #[test]
    fn the_message_of_a_cancelled_handler_is_kept_with_the_reason() {
        let reason = |outcome| {
            let policy = RetryPolicy::default();
            match decide(&task(0, None), &policy, outcome, true, 0.0) {
                Transition::Cancel { reason } => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason(error()), "cancelled while it ran: no");
        let late = Outcome::Retry {
            failure: Failure::new(ErrorKind::Timeout, "too late"),
            after: None,
        };
        assert_eq!(reason(late), "cancelled while it ran");
    }

    #[test]
    fn every_decision_is_a_legal_move_from_running() {
        let outcomes = [
            Outcome::Complete { result: "1".into() },
            error(),
            Outcome::Retry {
                failure: Failure::new(ErrorKind::Error, "x"),
                after: Some(Duration::ZERO),
            },
            Outcome::Fail {
                failure: Failure::new(ErrorKind::Error, "x"),
            },
            Outcome::Snooze {
                after: Duration::from_secs(1),
            },
            Outcome::Cancel { reason: "x".into() },
            Outcome::Release,
        ];
        for outcome in outcomes {
            for cancelled in [false, true] {
                let state = after(3, None, outcome.clone(), cancelled);
                assert!(
                    State::Running.may_become(state),
                    "{outcome:?} became {state}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_retried_at_once() {
        let outcome = Outcome::Snooze {
            after: Duration::ZERO,
        };
        let snoozed = decide(&task(0, None), &RetryPolicy::default(), outcome, false, 0.0);
        assert_eq!(snoozed, Transition::Snooze { delay: MIN_DELAY });
    }

    #[test]
    fn a_requested_delay_wins_over_the_policy() {
        let wanted = Duration::from_secs(77);
        let outcome = Outcome::Retry {
            failure: Failure::new(ErrorKind::Error, "x"),
            after: Some(wanted),
        };
        match decide(&task(0, None), &RetryPolicy::default(), outcome, false, 0.0) {
            Transition::Retry { delay, .. } => assert_eq!(delay, wanted),
            other => panic!("{other:?}"),
        }
    }
}
