//! The search for stragglers in heavy lanes.

use std::time::{Duration, Instant};

use crate::verbs::lanes::lane::LaneKey;

/// Positions of a lane in one search: maximum and minimum.
pub(super) const MOST_STRIDE: i64 = i64::MAX / 4;
pub(super) const LEAST_STRIDE: i64 = 10_000;

/// Time limit of a slice of a sweep on the server after a slow one: initial and maximum.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
pub(super) const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Searches for stragglers in heavy lanes: how far in one statement, and when.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) stride: i64,
    pub(super) last: Option<(Instant, Duration)>,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            stride: MOST_STRIDE,
            last: None,
        }
    }
}

/// A part of a lane that is searched for stragglers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) key: LaneKey,
    pub(crate) after: i64,
    pub(crate) upto: i64,
}
