//! How much a rescue does in one statement: less after an error, more after a success.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Claims in one step, without errors.
const MOST: i32 = 100;
/// Time limit for one step, without errors.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum time limit for a step: longer than a server takes for the largest claim.
const MOST_PATIENCE: Duration = Duration::from_secs(960);

/// The size and the time limit of the next step.
#[derive(Debug, Default)]
pub(crate) struct Stride(Mutex<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) most: i32,
    pub(crate) patience: Duration,
}

impl Default for Step {
    fn default() -> Self {
        Step {
            most: MOST,
            patience: PATIENCE,
        }
    }
}

impl Step {
    /// The step after a failure, for any reason.
    pub(crate) fn smaller(self) -> Step {
        match self.most {
            1 => Step {
                patience: (self.patience * 2).min(MOST_PATIENCE),
                ..self
            },
            most => Step {
                most: (most / 4).max(1),
                ..self
            },
        }
    }

    /// The step after a success.
    pub(crate) fn larger(self) -> Step {
        Step {
            most: (self.most * 2).min(MOST),
            patience: (self.patience / 2).max(PATIENCE),
        }
    }
}

impl Stride {
    pub(crate) fn next(&self) -> Step {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, step: Step) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shrinks_to_one_claim_and_then_takes_longer() {
        let mut step = Step::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            step = step.smaller();
            seen.push((step.most, step.patience.as_secs()));
        }
        assert_eq!(
            seen,
            [(25, 30), (6, 30), (1, 30), (1, 60), (1, 120), (1, 240)]
        );
        for _ in 0..20 {
            step = step.smaller();
        }
        assert_eq!(step.patience, MOST_PATIENCE);
        for _ in 0..10 {
            step = step.larger();
        }
        assert_eq!(step, Step::default());
    }
}
