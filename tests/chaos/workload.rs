//! The kinds of tasks, and their expected outcomes.

use crate::rng::Rng;

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Adds two numbers.
    Add(u32, u32),
    /// Returns the version of its plugin.
    Greet,
    /// Inserts a row, and pushes a child that inserts another.
    Book,
    /// Inserts a row.
    Leaf,
    /// Inserts a row and fails.
    Undone,
    /// Pushes this many children.
    Parent(u32),
    /// Pushes children and fails.
    Childless,
    /// Fails until this attempt.
    Until(u32),
    /// Fails one time in three.
    Sometimes,
    /// Snoozes.
    Snooze,
    /// Sleeps this many milliseconds.
    Sleep(u32),
    /// Fails without retries.
    Fatal,
    /// Cancels itself.
    Cancel,
}

/// The arguments of `pgtq.push`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushSpec {
    pub(crate) handler: &'static str,
    pub(crate) args: String,
    pub(crate) retries: Option<i32>,
}

/// The expected outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) state: &'static str,
    pub(crate) children: usize,
    pub(crate) result: Option<String>,
    /// The number of attempts, if it does not depend on faults.
    pub(crate) attempts: Option<i32>,
}

impl Kind {
    /// A random kind; fast ones are more frequent.
    pub(crate) fn any(rng: &mut Rng) -> Kind {
        match rng.below(20) {
            0..=4 => Kind::Add(rng.below(1_000) as u32, rng.below(1_000) as u32),
            5 | 6 => Kind::Greet,
            7..=9 => Kind::Book,
            10 => Kind::Leaf,
            11 => Kind::Undone,
            12 => Kind::Parent(1 + rng.below(3) as u32),
            13 => Kind::Childless,
            14 => Kind::Until(2 + rng.below(2) as u32),
            15 => Kind::Sometimes,
            16 => Kind::Snooze,
            17 => Kind::Sleep(50 + rng.below(1_500) as u32),
            18 => Kind::Fatal,
            _ => Kind::Cancel,
        }
    }

    /// How to push it. Kinds with SQL can fail when the database fails, so they have
    /// unlimited retries.
    pub(crate) fn push_spec(self) -> PushSpec {
        let (handler, args, retries) = match self {
            Kind::Add(a, b) => ("add_numbers", format!("[{a}, {b}]"), None),
            Kind::Greet => ("greet", "{\"name\": \"chaos\"}".to_owned(), None),
            Kind::Book => ("flaky.rows", "[\"result\"]".to_owned(), Some(-1)),
            Kind::Leaf => ("flaky.rows", "[\"leaf\"]".to_owned(), Some(-1)),
            Kind::Undone => ("flaky.rows", "[\"error\"]".to_owned(), Some(1)),
            Kind::Parent(n) => ("flaky.pushes", format!("[{n}]"), None),
            Kind::Childless => ("flaky.push_then_fail", "{}".to_owned(), None),
            Kind::Until(n) => ("flaky.until", format!("[{n}]"), None),
            Kind::Sometimes => ("flaky.sometimes", "[3]".to_owned(), None),
            Kind::Snooze => ("flaky.snooze", "[300]".to_owned(), None),
            Kind::Sleep(ms) => ("flaky.sleep", format!("[{ms}]"), None),
            Kind::Fatal => ("flaky.fatal", "{}".to_owned(), None),
            Kind::Cancel => ("flaky.cancel", "{}".to_owned(), None),
        };
        PushSpec {
            handler,
            args,
            retries,
        }
    }

    /// The expected outcome.
    pub(crate) fn expected(self) -> Expected {
        let complete = Expected {
            state: "complete",
            children: 0,
            result: None,
            attempts: Some(1),
        };
        let failed = Expected {
            state: "failed",
            ..complete.clone()
        };
        match self {
            Kind::Add(a, b) => Expected {
                result: Some((a + b).to_string()),
                ..complete
            },
            Kind::Greet | Kind::Snooze | Kind::Sleep(_) => complete,
            Kind::Book => Expected {
                children: 1,
                attempts: None,
                ..complete
            },
            Kind::Leaf | Kind::Sometimes => Expected {
                attempts: None,
                ..complete
            },
            Kind::Undone => Expected {
                attempts: Some(2),
                ..failed
            },
            Kind::Parent(n) => Expected {
                children: n as usize,
                result: Some(n.to_string()),
                ..complete
            },
            Kind::Until(n) => Expected {
                result: Some(n.to_string()),
                attempts: i32::try_from(n).ok(),
                ..complete
            },
            Kind::Childless | Kind::Fatal => failed,
            Kind::Cancel => Expected {
                state: "cancelled",
                ..complete
            },
        }
    }
}
