//! What the actors do, and which client does it.

pub(super) const RUNNERS: usize = 3;
/// Clients: two for each runner, because it beats while it works.
pub(super) const PUSHER: usize = 2 * RUNNERS;
pub(super) const OPERATOR: usize = PUSHER + 1;
pub(super) const MAINTENANCE: usize = PUSHER + 2;
pub(super) const CLOCK: usize = PUSHER + 3;
pub(super) const CLIENTS: usize = PUSHER + 4;

/// The next operation of an actor. The details depend on the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Push,
    Claim,
    Finish,
    CompleteInTask,
    Isolate,
    Beat,
    Retire,
    Expire,
    Rescue,
    Promote,
    Prune,
    Cancel,
    Retry,
    Delete,
    Pause,
    Due,
    Age,
}

/// The weight of each is the number of its occurrences.
pub(super) const OPERATIONS: &[Operation] = {
    use Operation::*;
    &[
        Push,
        Push,
        Push,
        Push,
        Claim,
        Claim,
        Claim,
        Claim,
        Claim,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        Finish,
        CompleteInTask,
        CompleteInTask,
        Isolate,
        Isolate,
        Beat,
        Retire,
        Expire,
        Expire,
        Rescue,
        Rescue,
        Rescue,
        Promote,
        Promote,
        Prune,
        Cancel,
        Cancel,
        Cancel,
        Cancel,
        Retry,
        Retry,
        Retry,
        Delete,
        Delete,
        Delete,
        Pause,
        Due,
        Due,
        Age,
    ]
};

/// Whether the operation must run alone. The clock replaces real time, which no transaction can
/// hold; a prune is several transactions, of which the model knows only the sum.
pub(super) fn is_alone(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Due | Operation::Age | Operation::Prune
    )
}
