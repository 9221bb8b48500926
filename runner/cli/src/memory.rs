//! A replacement for the database of an attempt, for `pgtq call` and `pgtq test`: keeps
//! saved values in memory and passes SQL to an [`Answers`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgtq_task::{Database, DatabaseFuture, GuestError, Limits, SqlGrant};

/// Answers SQL statements.
pub(crate) trait Answers: Debug + Send + Sync {
    /// The answer to one statement: JSON as in the contract's `sql.run`.
    fn answer(&self, statement: &str, params: &str) -> Result<String, GuestError>;
}

/// Rejects all SQL statements.
#[derive(Debug)]
pub(crate) struct NoSql;

impl Answers for NoSql {
    fn answer(&self, _: &str, _: &str) -> Result<String, GuestError> {
        Err(GuestError::new(
            "unavailable",
            "SQL is not available in `pgtq call`: run the handler in a queue (`pgtq dev`), or record responses to its statements in a case of `pgtq test`",
        ))
    }
}

/// The database of one attempt. Keeps state that is saved in a transaction separate until
/// the commit, like Postgres.
#[derive(Debug)]
pub(crate) struct Memory {
    inner: Mutex<MemoryState>,
    answers: Arc<dyn Answers>,
}

#[derive(Debug, Default)]
struct MemoryState {
    saved: BTreeMap<String, String>,
    /// Saved in the open transaction.
    open: BTreeMap<String, String>,
    is_open: bool,
    /// The error that prevents the commit of the transaction.
    doom: Option<GuestError>,
}

impl Memory {
    /// `saved` is the state that earlier attempts saved.
    pub(crate) fn new(saved: BTreeMap<String, String>, answers: Arc<dyn Answers>) -> Self {
        Memory {
            inner: Mutex::new(MemoryState {
                saved,
                ..MemoryState::default()
            }),
            answers,
        }
    }

    /// Ends the attempt: commits if it succeeded, otherwise rolls back. Returns the saved
    /// values, and the error that prevented the commit.
    pub(crate) fn end(&self, succeeded: bool) -> (BTreeMap<String, String>, Option<GuestError>) {
        let mut inner = self.lock();
        let doom = inner.doom.take();
        if succeeded && doom.is_none() {
            inner.commit();
        }
        (inner.saved.clone(), doom)
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryState {
    fn commit(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.saved.extend(open);
        self.is_open = false;
    }

    /// Fails if an earlier statement of the transaction failed.
    fn check(&self) -> Result<(), GuestError> {
        match &self.doom {
            None => Ok(()),
            Some(doom) => Err(GuestError::new(
                "sql:25P02",
                format!(
                    "the transaction is doomed, because an earlier statement failed ({}: {})",
                    doom.code, doom.message
                ),
            )),
        }
    }
}

impl Database for Memory {
    fn sql<'a>(
        &'a self,
        _: &'a SqlGrant,
        _: &'a Limits,
        statement: &'a str,
        params: &'a str,
    ) -> DatabaseFuture<'a, String> {
        let mut inner = self.lock();
        let answer = inner.check().and_then(|()| {
            inner.is_open = true;
            self.answers.answer(statement, params)
        });
        if let Err(problem) = &answer
            && inner.doom.is_none()
        {
            inner.doom = Some(problem.clone());
        }
        Box::pin(ready(answer))
    }

    fn checkpoint<'a>(&'a self, _: &'a Limits, value: &'a str) -> DatabaseFuture<'a, ()> {
        let mut inner = self.lock();
        let done = inner.check().map(|()| {
            inner.open.insert(String::new(), value.to_owned());
            inner.commit();
        });
        Box::pin(ready(done))
    }

    fn load<'a>(&'a self, name: &'a str) -> DatabaseFuture<'a, Option<String>> {
        let inner = self.lock();
        let value = inner.open.get(name).or_else(|| inner.saved.get(name));
        Box::pin(ready(Ok(value.cloned())))
    }

    fn save<'a>(
        &'a self,
        _: &'a Limits,
        name: &'a str,
        value: &'a str,
        with_sql: bool,
    ) -> DatabaseFuture<'a, ()> {
        let mut inner = self.lock();
        let (name, value) = (name.to_owned(), value.to_owned());
        let replaced = match with_sql && inner.is_open {
            true => inner.open.insert(name, value),
            false => inner.saved.insert(name, value),
        };
        drop(replaced);
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug)]
    struct Echo;

    impl Answers for Echo {
        fn answer(&self, statement: &str, _: &str) -> Result<String, GuestError> {
            match statement {
                "bad" => Err(GuestError::new("sql:23505", "a duplicate")),
                _ => Ok("{}".to_owned()),
            }
        }
    }

    fn grant() -> SqlGrant {
        SqlGrant {
            role: "r".into(),
            password: None,
            statement_timeout: Duration::from_secs(1),
            connections: 1,
        }
    }

    async fn run(memory: &Memory, statement: &str) -> Result<String, String> {
        let limits = Limits::default();
        let answer = memory.sql(&grant(), &limits, statement, "[]").await;
        answer.map_err(|problem| problem.code)
    }

    async fn save(memory: &Memory, name: &str, with_sql: bool) {
        let limits = Limits::default();
        let saved = memory.save(&limits, name, "1", with_sql).await;
        saved.expect("it is saved");
    }

    fn kept(memory: &Memory, succeeded: bool) -> Vec<String> {
        memory.end(succeeded).0.into_keys().collect()
    }

    #[tokio::test]
    async fn state_saved_with_sql_is_rolled_back_with_it() {
        for (succeeded, expected) in [(true, vec!["a", "b"]), (false, vec!["a"])] {
            let memory = Memory::new(BTreeMap::new(), Arc::new(Echo));
            save(&memory, "a", true).await;
            assert_eq!(run(&memory, "good").await, Ok("{}".into()));
            save(&memory, "b", true).await;
            assert_eq!(memory.load("b").await, Ok(Some("1".into())));
            assert_eq!(kept(&memory, succeeded), expected);
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_kept_after_a_failure() {
        let memory = Memory::new(BTreeMap::new(), Arc::new(Echo));
        assert!(run(&memory, "good").await.is_ok());
        save(&memory, "b", true).await;
        let limits = Limits::default();
        memory.checkpoint(&limits, "7").await.expect("it is kept");
        assert_eq!(kept(&memory, false), ["", "b"]);
    }

    #[tokio::test]
    async fn a_failed_statement_prevents_the_commit() {
        let memory = Memory::new(BTreeMap::new(), Arc::new(Echo));
        assert_eq!(run(&memory, "bad").await, Err("sql:23505".into()));
        assert_eq!(run(&memory, "good").await, Err("sql:25P02".into()));
        let (_, doom) = memory.end(true);
        assert_eq!(doom.map(|doom| doom.code), Some("sql:23505".into()));
    }
}
