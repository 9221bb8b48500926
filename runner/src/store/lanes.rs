//! Where the runnable tasks of a runner stand: a cursor per lane.

use crate::task::Name;

/// Which queues a runner serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueFilter {
    /// These.
    Only(Vec<Name>),
    /// All but these.
    Except(Vec<Name>),
}

/// The lanes (queue, handler, priority) that a claimer knows, with the last
/// position it took in each. Owned by one claimer; never shared.
#[derive(Debug)]
pub struct Lanes {}

impl Lanes {
    /// Knows nothing yet; the first claim looks.
    pub fn new(_filter: QueueFilter) -> Self {
        todo!()
    }
}
