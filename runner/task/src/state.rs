//! The six states and the transitions between them.

/// A task's state. There is no state column: a task's state is the table that contains it,
/// exposed by the view of the same name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not due yet: pushed with a delay, or waiting for a retry.
    Scheduled,
    /// Due; the next free runner takes it.
    Runnable,
    /// Claimed by a runner.
    Running,
    /// Finished, with a result.
    Complete,
    /// Finished, with an error and no retries left.
    Failed,
    /// Cancelled by an operator or by its handler.
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

    /// Parses the result of [`State::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a task stays in this state unless it is retried explicitly.
    pub fn is_final(self) -> bool {
        matches!(self, State::Complete | State::Failed | State::Cancelled)
    }

    /// Whether a task may move from `self` to `next`. The diagram in ARCHITECTURE.md shows the
    /// same transitions with the operations that make them.
    pub fn may_become(self, next: State) -> bool {
        use State::*;
        match self {
            // Waiting tasks can be rescheduled. A crash can be proven after a task has returned to
            // the queue, and then fails it there.
            Scheduled => matches!(next, Runnable | Failed | Cancelled),
            Runnable => matches!(next, Scheduled | Running | Failed | Cancelled),
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
    fn every_state_round_trips_through_text() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("done"), None);
    }
}
