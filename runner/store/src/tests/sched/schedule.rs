//! Schedules: the steps that follow from a seed.

use crate::tests::sched::flight::{Fate, Pause};
use crate::tests::sched::operation::{OPERATIONS, Operation};
use crate::tests::sched::rng::Rng;

/// One step: an actor starts a call. A list of steps can be reduced.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) rng: Rng,
    pub(super) pause: Pause,
    pub(super) fate: Fate,
    /// The number of steps for which its transaction stays open.
    pub(super) open_for: usize,
}

/// The steps of a seed.
pub(super) fn schedule(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    // Some schedules are sequential, most are concurrent.
    let holding = *rng.pick(&[0, 25, 45, 60]);
    (0..20 + rng.below(21))
        .map(|_| Step {
            operation: *rng.pick(OPERATIONS),
            rng: Rng::new(rng.next_u64()),
            pause: match rng.below(100) {
                n if n >= holding => Pause::Nowhere,
                n if n % 4 == 0 => Pause::AfterFirstWrite,
                _ => Pause::BeforeCommit,
            },
            fate: match rng.below(16) {
                0 | 1 => Fate::LoseAnswer,
                2 => Fate::Kill,
                3 | 4 => Fate::Interrupt,
                _ => Fate::Commit,
            },
            open_for: 1 + rng.below(5),
        })
        .collect()
}
