//! For every outcome of an attempt, its task continues by the rules.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    Backoff, ErrorKind, Failure, MIN_DELAY, Name, Outcome, Retries, RetryPolicy, State, Task,
    TaskId, Transition, decide,
};

fn any_retries() -> impl Strategy<Value = Retries> {
    prop_oneof![
        (0..5_u32).prop_map(Retries::Limited),
        any::<u32>().prop_map(Retries::Limited),
        Just(Retries::Forever)
    ]
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    (any_retries(), any::<u64>(), any::<u64>()).prop_map(|(retries, first_ms, max_ms)| {
        RetryPolicy {
            retries,
            backoff: Backoff { first_ms, max_ms },
        }
    })
}

fn any_delay() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        any::<u64>().prop_map(Duration::from_millis)
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let kinds = [
        ErrorKind::Error,
        ErrorKind::Arguments,
        ErrorKind::Trap,
        ErrorKind::Timeout,
        ErrorKind::Crash,
        ErrorKind::Internal,
    ];
    (prop::sample::select(kinds.to_vec()), ".{0,20}")
        .prop_map(|(kind, text)| Failure::new(kind, text))
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        ".{0,20}".prop_map(|result| Outcome::Complete { result }),
        (any_failure(), prop::option::of(any_delay()))
            .prop_map(|(failure, after)| Outcome::Retry { failure, after }),
        any_failure().prop_map(|failure| Outcome::Fail { failure }),
        any_delay().prop_map(|after| Outcome::Snooze { after }),
        ".{0,20}".prop_map(|reason| Outcome::Cancel { reason }),
        Just(Outcome::Release),
    ]
}

fn any_task() -> impl Strategy<Value = Task> {
    let attempts = prop_oneof![0..6_u32, any::<u32>()];
    (attempts, any::<u32>(), prop::option::of(any_retries())).prop_map(
        |(attempts, crashes, retries)| Task {
            id: TaskId(1),
            queue: Name::default_queue(),
            handler: Name::default_queue(),
            priority: 0,
            args: "{}".into(),
            attempts,
            crashes,
            retries,
            pushed_at: jiff::Timestamp::UNIX_EPOCH,
            due_at: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            parent: None,
            traits: None,
        },
    )
}

proptest! {
    #[test]
    fn every_decision_is_legal_and_keeps_all_invariants(
        task in any_task(), policy in any_policy(), outcome in any_outcome(), cancelled in any::<bool>(), jitter in any::<f64>(),
    ) {
        let transition = decide(&task, &policy, outcome.clone(), cancelled, jitter);
        let state = transition.state();
        prop_assert!(State::Running.may_become(state), "{:?} became {}", outcome, state);
        match (&outcome, &transition) {
            (Outcome::Complete { result }, Transition::Complete { result: kept }) => prop_assert_eq!(result, kept),
            (Outcome::Complete { .. }, other) => prop_assert!(false, "a result was thrown away: {:?}", other),
            (_, Transition::Complete { .. }) => prop_assert!(false, "a result out of nothing"),
            _ => {}
        }
        if cancelled {
            prop_assert!(state.is_final(), "a cancelled task comes back");
        }
        let retries = task.retries.unwrap_or(policy.retries);
        match transition {
            Transition::Retry { delay, failure } => {
                prop_assert!(delay >= MIN_DELAY);
                prop_assert!(retries.allows(task.attempts.saturating_add(1)), "more retries than allowed");
                prop_assert!(failure.kind != ErrorKind::Arguments);
            }
            Transition::Snooze { delay } => prop_assert!(delay >= MIN_DELAY),
            // Not requested by the handler, so the retries must be used up.
            Transition::Fail { failure } if matches!(outcome, Outcome::Retry { .. }) => {
                let spent = !retries.allows(task.attempts.saturating_add(1));
                prop_assert!(spent || failure.kind == ErrorKind::Arguments, "failed with retries left");
            }
            _ => {}
        }
    }

    #[test]
    fn n_retries_are_n_and_one_attempts(n in 0..60_u32, policy in any_policy(), task in any_task(), jitter in any::<f64>()) {
        let mut task = Task { attempts: 0, retries: Some(Retries::Limited(n)), ..task };
        loop {
            let outcome = Outcome::Retry { failure: Failure::new(ErrorKind::Error, "no"), after: None };
            let state = decide(&task, &policy, outcome, false, jitter).state();
            task.attempts += 1;
            if state == State::Failed {
                break;
            }
        }
        prop_assert_eq!(task.attempts, n + 1);
    }
}
