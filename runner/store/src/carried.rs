//! The columns that a task keeps while it moves between tables.
//!
//! A statement that moves tasks names them all with `{{carried}}`, or `{{carried t}}` for those
//! of `t`. So none is forgotten, and a new column is added here and to the tables. Each
//! statement names the columns that a transition changes (`attempts`, `crashes`, when the task
//! is due) itself. Claims have an array for each: `claim.sql` and `isolate.sql`.

use tokio_postgres::types::{ToSql, Type};

use super::Ending;
use super::json::Json;
use super::timestamp::DbTimestamp;

/// Their names, in the order of every statement and row.
pub(super) const CARRIED: [&str; 9] = [
    "queue",
    "handler",
    "priority",
    "retries",
    "pushed_at",
    "key",
    "parent",
    "traits",
    "args",
];

/// Their types.
pub(super) const TYPES: [Type; CARRIED.len()] = [
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::INT4,
    Type::TIMESTAMPTZ,
    Type::TEXT,
    Type::INT8,
    Type::JSONB,
    Type::JSON,
];

/// `sql` with the names in place of `{{carried}}` and `{{carried t}}`.
pub(super) fn render(sql: &str) -> String {
    let mut parts = sql.split("{{carried");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (table, rest) = part.split_once("}}").unwrap_or((part, ""));
        let prefix = match table.trim() {
            "" => String::new(),
            table => format!("{table}."),
        };
        let names = CARRIED.map(|name| format!("{prefix}{name}"));
        text.push_str(&names.join(", "));
        text.push_str(rest);
    }
    text
}

/// These columns of several outcomes, an array for each.
pub(super) struct Carried<'a> {
    queues: Vec<&'a str>,
    handlers: Vec<&'a str>,
    priorities: Vec<i32>,
    retries: Vec<Option<i32>>,
    pushed_at: Vec<DbTimestamp>,
    keys: Vec<Option<&'a str>>,
    parents: Vec<Option<i64>>,
    /// `None` when no task has traits, which is the usual case.
    traits: Option<Vec<Option<Json<'a>>>>,
    args: Vec<Json<'a>>,
}

impl<'a> Carried<'a> {
    pub(super) fn new(endings: &[&'a Ending]) -> Self {
        fn each<'a, T>(endings: &[&'a Ending], field: impl Fn(&'a Ending) -> T) -> Vec<T> {
            endings.iter().map(|ending| field(ending)).collect()
        }
        let has_traits = endings.iter().any(|ending| ending.task.traits.is_some());
        Carried {
            queues: each(endings, |e| e.task.queue.as_str()),
            handlers: each(endings, |e| e.task.handler.as_str()),
            priorities: each(endings, |e| e.task.priority),
            retries: each(endings, |e| e.task.retries.map(|r| r.to_column())),
            pushed_at: each(endings, |e| DbTimestamp(e.task.pushed_at)),
            keys: each(endings, |e| e.task.key.as_deref()),
            parents: each(endings, |e| e.task.parent.map(|id| id.0)),
            traits: has_traits.then(|| {
                each(endings, |e| {
                    e.task.traits.as_ref().map(|traits| Json(traits.as_str()))
                })
            }),
            args: each(endings, |e| Json(&e.task.args)),
        }
    }

    /// The arrays, as parameters.
    pub(super) fn arrays(&self) -> [&(dyn ToSql + Sync); CARRIED.len()] {
        [
            &self.queues,
            &self.handlers,
            &self.priorities,
            &self.retries,
            &self.pushed_at,
            &self.keys,
            &self.parents,
            &self.traits,
            &self.args,
        ]
    }

    /// The columns of one outcome.
    pub(super) fn row(&self, n: usize) -> [&(dyn ToSql + Sync); CARRIED.len()] {
        [
            &self.queues[n],
            &self.handlers[n],
            &self.priorities[n],
            &self.retries[n],
            &self.pushed_at[n],
            &self.keys[n],
            &self.parents[n],
            match &self.traits {
                Some(traits) => &traits[n],
                None => &None::<Json<'static>>,
            },
            &self.args[n],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_rendered_with_and_without_a_table() {
        assert_eq!(
            render("INSERT INTO t ({{carried}}, id) SELECT {{carried g}}, g.id"),
            "INSERT INTO t (queue, handler, priority, retries, pushed_at, key, parent, traits, args, id) \
             SELECT g.queue, g.handler, g.priority, g.retries, g.pushed_at, g.key, g.parent, g.traits, g.args, g.id"
        );
        assert_eq!(render("SELECT 1"), "SELECT 1");
    }
}
