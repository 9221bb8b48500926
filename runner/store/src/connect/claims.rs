//! Tracks which tasks of which claims this process has still to end.
//!
//! Tells finish which claims are complete, so that finish deletes them without counting in the
//! database. At a beat, distinguishes claims in flight, lost claims, and orphaned claims
//! (committed, but their answer never came). The database's claims table is authoritative; this
//! is bookkeeping.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;

use pgtq_task::{ClaimId, TaskId};

/// Every twelfth beat looks at all of the runner's claims: about once a minute.
const ALL_EVERY: u32 = 12;

#[derive(Debug, Default)]
pub(crate) struct LiveClaims {
    open: BTreeMap<ClaimId, FxHashSet<TaskId>>,
    /// Every claim above the floor whose answer came, including ended ones.
    known: BTreeSet<ClaimId>,
    /// No claim of this process up to here can be unknown to it.
    floor: i64,
    /// The newest claim that this process has ever had.
    newest: i64,
    /// Beats since the last look at all claims.
    n_looks: u32,
    /// Claim calls begun and ended; a call in flight may have committed.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// What was known when a beat began.
#[derive(Debug)]
pub(crate) struct Look {
    /// Claims above this id may be ours.
    pub(crate) floor: i64,
    newest: i64,
    open: BTreeSet<ClaimId>,
    begun: u64,
    quiet: bool,
}

impl LiveClaims {
    pub(crate) fn claimed(&mut self, claim: ClaimId, tasks: impl Iterator<Item = TaskId>) {
        self.open.insert(claim, tasks.collect());
        self.known.insert(claim);
        self.newest = self.newest.max(claim.0);
    }

    /// The claims that are empty once `ended` are ended.
    pub(crate) fn emptied(&self, ended: &[(ClaimId, TaskId)]) -> Vec<i64> {
        let mut by_claim: BTreeMap<ClaimId, FxHashSet<TaskId>> = BTreeMap::new();
        for (claim, task) in ended {
            by_claim.entry(*claim).or_default().insert(*task);
        }
        by_claim
            .into_iter()
            .filter(|(claim, ended)| {
                self.open
                    .get(claim)
                    .is_some_and(|left| left.is_subset(ended))
            })
            .map(|(claim, _)| claim.0)
            .collect()
    }

    /// Records that these tasks have ended and that the rows of the claims `closed` are deleted.
    /// Two concurrent calls may each see what the other has still to end, so that neither
    /// deletes their claim's row; a later beat then does.
    pub(crate) fn ended(&mut self, ended: &[(ClaimId, TaskId)], closed: &[i64]) {
        for (claim, task) in ended {
            if let Some(left) = self.open.get_mut(claim) {
                left.remove(task);
                if !left.is_empty() {
                    continue;
                }
                self.open.remove(claim);
                if !closed.contains(&claim.0) {
                    self.abandon(*claim);
                }
            }
        }
    }

    pub(crate) fn forget(&mut self, claim: ClaimId) {
        self.open.remove(&claim);
    }

    /// Nothing here works on this claim, but the database may still hold it: then the next beat
    /// finds an orphaned claim.
    pub(crate) fn abandon(&mut self, claim: ClaimId) {
        self.open.remove(&claim);
        self.known.remove(&claim);
        self.floor = self.floor.min(claim.0 - 1);
    }

    /// The database may be a different server now, one that lacks some outcomes: the next beat
    /// looks at all of this runner's claims, however old.
    pub(crate) fn suspect(&mut self) {
        self.floor = 0;
    }

    /// The newest claim that this process has ever had; 0 before the first.
    pub(crate) fn newest(&self) -> i64 {
        self.newest
    }

    pub(crate) fn look(&mut self) -> Look {
        // A pooler between the runner and the server hides a failover: so a new connection alone
        // does not prove anything.
        self.n_looks += 1;
        if self.n_looks >= ALL_EVERY {
            self.n_looks = 0;
            self.suspect();
        }
        let oldest_open = self
            .open
            .keys()
            .next()
            .map_or(i64::MAX, |claim| claim.0 - 1);
        Look {
            floor: self.floor.min(oldest_open),
            newest: self.newest,
            open: self.open.keys().copied().collect(),
            begun: self.begun,
            quiet: self.begun == self.ended,
        }
    }

    /// Orphaned claims and lost claims among those that a beat found. The database holds an
    /// orphaned claim and nothing here works on it: the answer to the claim was lost, or its
    /// outcomes were lost when a standby that had not received them was promoted. A claim call
    /// in flight has a claim that looks orphaned, so then none is reported: a call that loses
    /// its answer ends within seconds, and a later beat finds it.
    pub(crate) fn compare(
        &mut self,
        look: &Look,
        held: &[ClaimId],
    ) -> (Vec<ClaimId>, Vec<ClaimId>) {
        let unknown: Vec<ClaimId> = held
            .iter()
            .copied()
            .filter(|claim| !look.open.contains(claim))
            .collect();
        let lost: Vec<ClaimId> = look
            .open
            .iter()
            .copied()
            .filter(|claim| !held.contains(claim) && self.open.contains_key(claim))
            .collect();
        // Claims that no longer end must not hold the floor down.
        for claim in &lost {
            self.open.remove(claim);
        }
        if !look.quiet || self.begun != look.begun {
            return (Vec::new(), lost);
        }
        let oldest_unknown = unknown.first().map_or(i64::MAX, |claim| claim.0 - 1);
        self.floor = look.newest.min(oldest_unknown).max(self.floor);
        let keep_from = self
            .open
            .keys()
            .next()
            .map_or(self.floor, |claim| self.floor.min(claim.0 - 1));
        self.known.retain(|claim| claim.0 > keep_from);
        (unknown, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: i64) -> impl Iterator<Item = TaskId> {
        std::iter::once(TaskId(id))
    }

    #[test]
    fn a_claim_is_complete_when_its_last_task_has_ended() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), [TaskId(1), TaskId(2)].into_iter());
        assert!(live.emptied(&[(ClaimId(5), TaskId(1))]).is_empty());
        live.ended(&[(ClaimId(5), TaskId(1))], &[]);
        assert_eq!(live.emptied(&[(ClaimId(5), TaskId(2))]), [5]);
        assert!(live.emptied(&[(ClaimId(9), TaskId(2))]).is_empty());
    }

    #[test]
    fn a_claim_with_a_lost_answer_is_orphaned_until_it_is_gone() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), one(1));
        let look = live.look();
        assert_eq!(
            live.compare(&look, &[ClaimId(5), ClaimId(7)]),
            (vec![ClaimId(7)], vec![])
        );
        live.claimed(ClaimId(9), one(2));
        live.ended(&[(ClaimId(5), TaskId(1))], &[5]);
        let look = live.look();
        assert!(look.floor < 7);
        let (orphaned, _) = live.compare(&look, &[ClaimId(7), ClaimId(9)]);
        assert_eq!(orphaned, [ClaimId(7)]);
    }

    #[test]
    fn a_claim_call_in_flight_is_not_orphaned() {
        let mut live = LiveClaims {
            begun: 1,
            ..LiveClaims::default()
        };
        let look = live.look();
        assert!(live.compare(&look, &[ClaimId(7)]).0.is_empty());
        live.claimed(ClaimId(7), one(1));
        live.ended = 1;
        let look = live.look();
        assert!(live.compare(&look, &[ClaimId(7)]).0.is_empty());
    }

    #[test]
    fn an_abandoned_claim_is_orphaned_if_it_still_exists() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), one(1));
        live.claimed(ClaimId(9), one(2));
        live.ended(&[(ClaimId(5), TaskId(1)), (ClaimId(9), TaskId(2))], &[5, 9]);
        let look = live.look();
        live.compare(&look, &[ClaimId(5)]);
        live.abandon(ClaimId(5));
        let look = live.look();
        assert!(look.floor < 5);
        assert_eq!(live.compare(&look, &[ClaimId(5)]).0, [ClaimId(5)]);
        let look = live.look();
        assert!(live.compare(&look, &[]).0.is_empty());
    }

    #[test]
    fn an_empty_claim_is_removed_at_a_beat() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), [TaskId(1), TaskId(2)].into_iter());
        let (one, two) = ([(ClaimId(5), TaskId(1))], [(ClaimId(5), TaskId(2))]);
        assert!(live.emptied(&one).is_empty() && live.emptied(&two).is_empty());
        live.ended(&one, &[]);
        live.ended(&two, &[]);
        let look = live.look();
        assert!(look.floor < 5);
        assert_eq!(live.compare(&look, &[ClaimId(5)]).0, [ClaimId(5)]);
    }

    #[test]
    fn an_ended_claim_is_neither_orphaned_nor_lost() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), one(1));
        let look = live.look();
        live.ended(&[(ClaimId(5), TaskId(1))], &[5]);
        assert_eq!(live.compare(&look, &[ClaimId(5)]), (vec![], vec![]));
    }

    #[test]
    fn a_claim_is_orphaned_when_the_database_lost_its_outcomes() {
        let mut live = LiveClaims::default();
        for id in [5, 9] {
            live.claimed(ClaimId(id), one(id));
            live.ended(&[(ClaimId(id), TaskId(id))], &[id]);
        }
        // Found at once, while the beat looks that far back.
        let look = live.look();
        assert_eq!(
            live.compare(&look, &[ClaimId(5)]),
            (vec![ClaimId(5)], vec![])
        );
        let look = live.look();
        assert!(live.compare(&look, &[]).0.is_empty());
        // Later beats look no further back than they must, unless told to.
        assert_eq!(live.look().floor, 9);
        live.suspect();
        assert_eq!(live.look().floor, 0);
        let look = live.look();
        assert_eq!(live.compare(&look, &[ClaimId(9)]).0, [ClaimId(9)]);
        assert_eq!(live.newest(), 9);
    }

    #[test]
    fn a_claim_missing_in_the_database_is_lost() {
        let mut live = LiveClaims::default();
        live.claimed(ClaimId(5), one(1));
        let look = live.look();
        assert_eq!(live.compare(&look, &[]), (vec![], vec![ClaimId(5)]));
    }
}
