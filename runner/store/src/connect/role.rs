//! What the store's connections are for, and which of them are the more important.

use std::time::Duration;

/// What a connection is for. A slow verb of one role never delays another role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Claim,
    Finish,
    Beat,
    General,
    Rescue,
    Bulk,
    Live,
    /// Values that handlers save for later attempts.
    State,
    /// Queries the result of a commit whose answer was lost: waits for its transaction.
    CommitStatus,
    /// Outcomes that wait for a lock of another transaction.
    Parked,
}

pub(crate) const ROLES: usize = 10;

/// Lock timeout of a flush. An application that holds a lock for longer is in an open
/// transaction, and the outcomes that wait for it are stored separately.
pub(crate) const LOCK_WAIT: Duration = Duration::from_millis(200);

/// Roles, the least important first.
pub(crate) const LEAST_FIRST: [Role; 10] = [
    Role::Bulk,
    Role::Live,
    Role::CommitStatus,
    Role::State,
    Role::Rescue,
    Role::Parked,
    Role::General,
    Role::Claim,
    Role::Beat,
    Role::Finish,
];
/// Roles that close their connection after use.
pub(crate) const RARE: [Role; 5] = [
    Role::Bulk,
    Role::Live,
    Role::CommitStatus,
    Role::State,
    Role::Parked,
];

impl Role {
    /// How long one statement may take. After that the connection is abandoned.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_secs(match self {
            // Shorter than the lease, so that a runner notices before it is rescued.
            Role::Beat => 5,
            // Lines that are not forwarded now are forwarded a second later.
            Role::Live => 3,
            Role::Claim => 10,
            Role::Finish
            | Role::General
            | Role::Rescue
            | Role::State
            | Role::CommitStatus
            | Role::Parked => 30,
            Role::Bulk => 300,
        })
    }

    /// Planner settings. The claim and finish statements have one good plan each, whatever the
    /// statistics say about tables that fill and empty all the time: no sequential scan, no hash
    /// over a whole table. The plan is generic: with the default, the server considers a custom
    /// plan for a claim of ten cheaper than the generic plan for all claims, and plans it again
    /// each time, at twice the cost of the claim.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Role::Claim | Role::Finish => {
                "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_mergejoin = off; \
                 SET plan_cache_mode = force_generic_plan; "
            }
            _ => "",
        }
    }

    pub(crate) fn rank(self) -> usize {
        LEAST_FIRST
            .iter()
            .position(|role| *role == self)
            .unwrap_or(0)
    }

    /// Whether it borrows the connection of the claims when it gets none.
    pub(crate) fn may_borrow(self) -> bool {
        self.rank() < Role::Claim.rank()
    }
}
