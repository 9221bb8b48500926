//! How much of the network one runner uses at a time.

/// Connections of one runner at a time, all its plugins together. Half of the 1,024 files
/// that a process may usually open. A plugin that holds its full share waits, until the
/// deadline of the attempt.
pub(crate) const CONNECTIONS: usize = 512;
/// Names that one runner looks up at a time. Each lookup occupies a thread until the name
/// server answers, and the runner needs its threads (tokio has 512) for other work too.
pub(crate) const LOOKUPS: usize = 32;
