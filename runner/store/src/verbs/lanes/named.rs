//! What a claim reads in the queues that notifications named.

use crate::verbs::lanes::lane::QueueFilter;
use crate::verbs::lanes::named_queues::NamedQueues;
use crate::verbs::lanes::sweep::{Range, Sweep};
use crate::verbs::lanes::{Lanes, sweep};
use pgtq_task::Name;

impl Lanes {
    /// The list of queues that the next claim looks into.
    pub fn named(&self) -> NamedQueues {
        self.named.clone()
    }

    /// The ranges to read in the named queues: all that are served, except lanes that claims
    /// probe and that may have many dead entries.
    pub(crate) fn named_ranges(&self) -> Vec<Range> {
        let is_served = |queue: &Name| match &self.filter {
            QueueFilter::Only(queues) => queues.contains(queue),
            QueueFilter::Except(queues) => !queues.contains(queue),
        };
        let named = self.named.take();
        let mut of: Vec<_> = named
            .iter()
            .filter(|queue| is_served(queue))
            .map(|queue| sweep::whole(queue.as_str()))
            .collect();
        if of.is_empty() {
            return Vec::new();
        }
        of.sort_unstable();
        Sweep::default().ranges(&of, &self.heavy_places())
    }
}
