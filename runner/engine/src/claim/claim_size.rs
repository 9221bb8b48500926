//! How many tasks to request in one claim: many, unless they are large.
//!
//! A claim that times out would be repeated and time out again, so a claim is larger than
//! the one before only if that one succeeded.

/// Maximum number of tasks in one claim. 500 measured no worse than larger values.
const MOST: usize = 500;
/// Number of tasks in the first claim. With arguments of the maximum size this is 64 MiB.
const FIRST: usize = 64;
/// Target number of argument bytes in one claim, estimated from the previous claim. It
/// equals the most the store accepts, because a rescue reads the whole claim.
const BYTES: usize = 8 << 20;

/// The size of a claimer's next claim.
#[derive(Debug)]
pub(crate) struct ClaimSize(usize);

impl ClaimSize {
    pub(crate) fn new() -> Self {
        ClaimSize(FIRST)
    }

    /// Maximum number of tasks to request; never 0.
    pub(crate) fn most(&self) -> usize {
        self.0
    }

    /// Records a successful claim of this many tasks with this many bytes of arguments.
    pub(crate) fn took(&mut self, n_tasks: usize, n_bytes: usize) {
        let fitting = match n_bytes.checked_div(n_tasks) {
            Some(each) if each > 0 => (BYTES / each).max(1),
            _ => MOST,
        };
        self.0 = (self.0 * 2).min(MOST).min(fitting);
    }

    /// Records a failed claim, whatever the reason.
    pub(crate) fn failed(&mut self) {
        self.0 = (self.0 / 4).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_small_tasks_grow_to_the_maximum() {
        let mut claim_size = ClaimSize::new();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(claim_size.most());
            claim_size.took(claim_size.most(), claim_size.most() * 100);
        }
        assert_eq!(seen, [64, 128, 256, 500, 500]);
    }

    #[test]
    fn claims_of_large_tasks_stay_at_a_few_megabytes() {
        let mut claim_size = ClaimSize::new();
        for (each, n) in [(1 << 20, 8), (100 << 20, 1), (1 << 20, 2), (0, 4)] {
            claim_size.took(10, 10 * each);
            assert_eq!(claim_size.most(), n);
        }
        claim_size.took(0, 0);
        assert_eq!(claim_size.most(), 8);
    }

    #[test]
    fn a_failed_claim_is_retried_in_smaller_parts() {
        let mut claim_size = ClaimSize::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            claim_size.failed();
            seen.push(claim_size.most());
        }
        assert_eq!(seen, [16, 4, 1, 1]);
    }
}
