//! The rate at which a queue group finishes attempts.

use std::time::Instant;

/// Finished attempts per time, smoothed over about half a second.
#[derive(Debug)]
pub(crate) struct Throughput {
    at: Instant,
    n_ended: u64,
    per_second: f64,
}

impl Throughput {
    pub(crate) fn new() -> Self {
        Throughput {
            at: Instant::now(),
            n_ended: 0,
            per_second: 0.0,
        }
    }

    pub(crate) fn per_second(&mut self, n_ended: u64) -> f64 {
        let elapsed = self.at.elapsed().as_secs_f64();
        if elapsed >= 0.02 {
            let now = (n_ended - self.n_ended) as f64 / elapsed;
            let weight = (elapsed / 0.5).clamp(0.1, 1.0);
            self.per_second += (now - self.per_second) * weight;
            self.at = Instant::now();
            self.n_ended = n_ended;
        }
        self.per_second
    }
}
