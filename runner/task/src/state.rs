//! The six states and the moves between them.

/// Where a task is. There is no state column: a task's state is the table it
/// stands in, shown by the view of the same name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its time: pushed with a delay, or waiting for a retry.
    Scheduled,
    /// Due; the next free runner takes it.
    Runnable,
    /// Claimed by a runner.
    Running,
    /// Done, with a result.
    Complete,
    /// Given up, with an error.
    Failed,
    /// Taken back by a person or by its handler.
    Cancelled,
}

impl State {
    /// All states, in the order of a task's life.
    pub const ALL: [State; 6] = [
        State::Scheduled,
        State::Runnable,
        State::Running,
        State::Complete,
        State::Failed,
        State::Cancelled,
    ];

    /// The state as it is written in SQL, CLI and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Scheduled => "scheduled",
            State::Runnable => "runnable",
            State::Running => "running",
            State::Complete => "complete",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Reads what [`State::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a task stays in this state until somebody asks for a retry.
    pub fn is_final(self) -> bool {
        matches!(self, State::Complete | State::Failed | State::Cancelled)
    }

    /// Whether a task may move from `self` to `next`. ARCHITECTURE.md has the
    /// same table with the verb that makes each move.
    pub fn may_become(self, next: State) -> bool {
        use State::*;
        match self {
            Scheduled => matches!(next, Runnable | Cancelled),
            Runnable => matches!(next, Running | Cancelled),
            Running => matches!(next, Complete | Failed | Cancelled | Scheduled | Runnable),
            Failed | Cancelled => matches!(next, Runnable),
            Complete => false,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_task_never_moves_again() {
        assert!(
            State::ALL
                .into_iter()
                .all(|next| !State::Complete.may_become(next))
        );
    }

    #[test]
    fn every_state_reads_back_what_it_prints() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }
}
