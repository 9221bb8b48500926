//! The one decision: what becomes of a task when an attempt ends.

use std::time::Duration;

use super::{ErrorKind, Failure, Outcome, RetryPolicy, State, Task};

/// How many runners may die under a task before it is failed, unless the
/// configuration says otherwise. Three, as Sidekiq's super_fetch counts.
pub const MAX_CRASHES: u32 = 3;

/// No retry and no snooze comes back sooner: a handler that always says "again,
/// now" would otherwise fill the database with its attempts.
pub const MIN_DELAY: Duration = Duration::from_millis(100);

/// What the store does about an ended attempt.
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
        /// Why, for people.
        reason: String,
    },
    /// Back to `scheduled` (or `runnable` when there is no delay), one more attempt counted.
    Retry {
        /// Counted from the moment the ending is stored.
        delay: Duration,
        /// What went wrong.
        failure: Failure,
    },
    /// Back to `scheduled`, nothing counted.
    Snooze {
        /// Counted from the moment the ending is stored.
        delay: Duration,
    },
    /// Back to `runnable`, nothing counted, nothing recorded.
    Release,
    /// Back to `scheduled`: it could not run here now, and nothing is counted.
    Defer {
        /// Counted from the moment the ending is stored.
        delay: Duration,
    },
}

impl Transition {
    /// Where the task stands afterwards.
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

/// Decides. `cancelled` says that somebody asked to cancel the task while it
/// ran: then a result that was reached is kept, and everything else is the
/// cancel that was asked for. `jitter` is a random number in `0.0..1.0`.
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
                // Arguments do not get better by waiting.
                return Transition::Fail { failure };
            }
            let delay = after.unwrap_or_else(|| policy.backoff.delay(number, jitter));
            let delay = delay.max(MIN_DELAY);
            Transition::Retry { delay, failure }
        }
    }
}

/// Why a task was cancelled, with what its handler said about it, if it could.
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
    fn an_error_is_retried_until_the_retries_are_spent() {
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
    fn a_cancelled_task_does_not_come_back_but_keeps_a_result() {
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
    fn what_a_cancelled_handler_said_is_kept_with_the_reason() {
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
    fn nothing_comes_back_at_once() {
        let outcome = Outcome::Snooze {
            after: Duration::ZERO,
        };
        let snoozed = decide(&task(0, None), &RetryPolicy::default(), outcome, false, 0.0);
        assert_eq!(snoozed, Transition::Snooze { delay: MIN_DELAY });
    }

    #[test]
    fn a_delay_asked_for_wins_over_the_policy() {
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
