//! How many tasks to ask for in one claim: many, unless they are large.
//!
//! A claim that does not come through within its time would be asked for again, and
//! fail again: so each is larger than the one before only if that one succeeded.

/// Tasks in one claim at most. 500 measured no worse than larger ones.
const MOST: usize = 500;
/// Tasks in the first claim: of the largest arguments, 64 MiB.
const FIRST: usize = 64;
/// Bytes of arguments in one claim, by the size of those in the one before: what the
/// store takes at most. A rescue reads the whole claim.
const BYTES: usize = 8 << 20;

/// The size of a claimer's next claim.
#[derive(Debug)]
pub(super) struct Appetite(usize);

impl Appetite {
    pub(super) fn new() -> Self {
        Appetite(FIRST)
    }

    /// Tasks to ask for at most; never 0.
    pub(super) fn most(&self) -> usize {
        self.0
    }

    /// A claim of this many tasks, with arguments of this many bytes, succeeded.
    pub(super) fn took(&mut self, n_tasks: usize, n_bytes: usize) {
        let fitting = match n_bytes.checked_div(n_tasks) {
            Some(each) if each > 0 => (BYTES / each).max(1),
            _ => MOST,
        };
        self.0 = (self.0 * 2).min(MOST).min(fitting);
    }

    /// A claim did not come through, for whatever reason.
    pub(super) fn failed(&mut self) {
        self.0 = (self.0 / 4).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_small_tasks_grow_to_the_most() {
        let mut appetite = Appetite::new();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(appetite.most());
            appetite.took(appetite.most(), appetite.most() * 100);
        }
        assert_eq!(seen, [64, 128, 256, 500, 500]);
    }

    #[test]
    fn claims_of_large_tasks_are_of_some_megabytes() {
        let mut appetite = Appetite::new();
        for (each, n) in [(1 << 20, 8), (100 << 20, 1), (1 << 20, 2), (0, 4)] {
            appetite.took(10, 10 * each);
            assert_eq!(appetite.most(), n);
        }
        appetite.took(0, 0);
        assert_eq!(appetite.most(), 8);
    }

    #[test]
    fn a_claim_that_fails_is_asked_for_in_smaller_parts() {
        let mut appetite = Appetite::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            appetite.failed();
            seen.push(appetite.most());
        }
        assert_eq!(seen, [16, 4, 1, 1]);
    }
}
