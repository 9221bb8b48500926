//! The kinds of tasks that are pushed, and what must become of each.

use crate::dice::Dice;

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Two numbers are added.
    Add(u32, u32),
    /// Says which version of its plugin answered.
    Greet,
    /// Inserts a row, and pushes a child that inserts another.
    Book,
    /// Inserts a row.
    Leaf,
    /// Inserts a row and fails.
    Undone,
    /// Pushes children.
    Parent(u32),
    /// Pushes children and fails.
    Childless,
    /// Fails once or twice before.
    Until(u32),
    /// Fails one time in three.
    Sometimes,
    /// Comes back later.
    Snooze,
    /// Takes this many milliseconds.
    Sleep(u32),
    /// Fails for good.
    Fatal,
    /// Takes itself back.
    Cancel,
}

/// What `pgtq.push` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) handler: &'static str,
    pub(crate) args: String,
    pub(crate) retries: Option<i32>,
}

/// What must become of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) state: &'static str,
    pub(crate) children: usize,
    pub(crate) result: Option<String>,
    /// Attempts, if nothing disturbs it but what is not counted.
    pub(crate) attempts: Option<i32>,
}

impl Kind {
    /// Any of them, the quick ones more often.
    pub(crate) fn any(dice: &mut Dice) -> Kind {
        match dice.below(20) {
            0..=4 => Kind::Add(dice.below(1_000) as u32, dice.below(1_000) as u32),
            5 | 6 => Kind::Greet,
            7..=9 => Kind::Book,
            10 => Kind::Leaf,
            11 => Kind::Undone,
            12 => Kind::Parent(1 + dice.below(3) as u32),
            13 => Kind::Childless,
            14 => Kind::Until(2 + dice.below(2) as u32),
            15 => Kind::Sometimes,
            16 => Kind::Snooze,
            17 => Kind::Sleep(50 + dice.below(1_500) as u32),
            18 => Kind::Fatal,
            _ => Kind::Cancel,
        }
    }

    /// How it is pushed. What needs the database while it runs may fail with it, so
    /// that has no last attempt.
    pub(crate) fn order(self) -> Order {
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
        Order {
            handler,
            args,
            retries,
        }
    }

    /// What must become of it.
    pub(crate) fn promise(self) -> Promise {
        let complete = Promise {
            state: "complete",
            children: 0,
            result: None,
            attempts: Some(1),
        };
        let failed = Promise {
            state: "failed",
            ..complete.clone()
        };
        match self {
            Kind::Add(a, b) => Promise {
                result: Some((a + b).to_string()),
                ..complete
            },
            Kind::Greet | Kind::Snooze | Kind::Sleep(_) => complete,
            Kind::Book => Promise {
                children: 1,
                attempts: None,
                ..complete
            },
            Kind::Leaf | Kind::Sometimes => Promise {
                attempts: None,
                ..complete
            },
            Kind::Undone => Promise {
                attempts: Some(2),
                ..failed
            },
            Kind::Parent(n) => Promise {
                children: n as usize,
                result: Some(n.to_string()),
                ..complete
            },
            Kind::Until(n) => Promise {
                result: Some(n.to_string()),
                attempts: i32::try_from(n).ok(),
                ..complete
            },
            Kind::Childless | Kind::Fatal => failed,
            Kind::Cancel => Promise {
                state: "cancelled",
                ..complete
            },
        }
    }
}
