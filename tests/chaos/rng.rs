//! A deterministic random number generator.

/// A splitmix64 generator. The same seed gives the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }

    /// One of `from`.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Shuffles `all`.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

#[test]
fn a_seed_gives_the_same_numbers() {
    let roll = |seed| {
        let mut rng = Rng::new(seed);
        [(); 20].map(|()| rng.below(6))
    };
    assert_eq!(roll(1), roll(1));
    assert_ne!(roll(1), roll(2));
    let mut all = [1, 2, 3, 4, 5, 6, 7, 8];
    Rng::new(3).shuffle(&mut all);
    assert_ne!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
}
