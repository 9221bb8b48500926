//! The inputs for decisions about pushes of plugins: the number of waiting tasks of each
//! handler, and the handlers that other plugins serve, too.

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;
use crate::verbs::runner::PublishedHandler;
use pgtq_task::{Name, PushLook, RunnerId};

/// Pages of each table that are counted: at least 200 tasks, or about 10,000 small ones.
const PAGES: i64 = 200;

impl Store {
    /// Reads waiting tasks and the handlers of other runners. Its cost does not grow with the
    /// number of waiting tasks: a few milliseconds. Cancel-safe.
    pub async fn push_look(
        &self,
        runner: RunnerId,
        handlers: &[PublishedHandler],
    ) -> Result<PushLook, StoreError> {
        self.push_look_at(PAGES, runner, handlers).await
    }

    async fn push_look_at(
        &self,
        pages: i64,
        runner: RunnerId,
        handlers: &[PublishedHandler],
    ) -> Result<PushLook, StoreError> {
        let what = "count waiting tasks by handler";
        let waiting = self
            .run(Role::General, what, sql!("waiting_handlers"), &[&pages])
            .await?;
        let waiting = waiting.iter().map(|row| {
            let n = row.get::<_, i64>("n").unsigned_abs();
            (Name::trusted(row.get("handler")), n)
        });
        Ok(PushLook {
            waiting: waiting.collect(),
            elsewhere: self.served_elsewhere(runner, handlers).await?,
        })
    }

    /// The handlers of this runner that another live runner serves from another file.
    /// Cancel-safe.
    pub async fn served_elsewhere(
        &self,
        runner: RunnerId,
        handlers: &[PublishedHandler],
    ) -> Result<Vec<Name>, StoreError> {
        let names: Vec<&str> = handlers.iter().map(|h| h.info.name.as_str()).collect();
        let files: Vec<&str> = handlers.iter().map(|h| h.file.as_str()).collect();
        let digests: Vec<&[u8]> = handlers.iter().map(|h| &h.digest.0[..]).collect();
        let what = "find handlers of the same name";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&runner.0, &names, &files, &digests];
        let elsewhere = self
            .run(Role::General, what, sql!("served_elsewhere"), &params)
            .await?;
        let names = elsewhere.iter().map(|row| Name::trusted(row.get("name")));
        Ok(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::connection::Store;
    use crate::testdb;
    use crate::verbs::runner::RunnerFacts;
    use pgtq_task::{Digest, HandlerInfo};

    /// 20,000 runnable and 10,000 scheduled tasks of `many`, 5 and 2 of `few`.
    async fn filled() -> Store {
        let store = testdb::store().await;
        let client = testdb::psql(&store).await;
        let fill = "INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, due_at, args)
            SELECT 'q' || n % 3, CASE WHEN n <= 5 THEN 'few' ELSE 'many' END, n % 2, n, n, now(), '{}' FROM generate_series(1, 20005) AS n;
            INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, run_at, args)
            SELECT 100000 + n, 'q', CASE WHEN n <= 2 THEN 'few' ELSE 'many' END, 0, now() + interval '1 hour', '{}' FROM generate_series(1, 10002) AS n";
        let fill = store.config().schema.render(fill);
        client.batch_execute(&fill).await.expect("fill");
        store
    }

    async fn waiting(store: &Store, pages: i64) -> Vec<(String, u64)> {
        let look = store.push_look_at(pages, RunnerId(0), &[]).await;
        let waiting = look.expect("a look").waiting.into_iter();
        let mut waiting: Vec<_> = waiting.map(|(name, n)| (name.to_string(), n)).collect();
        waiting.sort();
        waiting
    }

    #[tokio::test]
    async fn waiting_tasks_are_counted_by_handler_in_all_queues() {
        let store = filled().await;
        let all = [("few".to_owned(), 7), ("many".to_owned(), 30_000)];
        assert_eq!(waiting(&store, 100_000).await, all);
    }

    #[tokio::test]
    async fn many_waiting_tasks_are_estimated_from_a_part_of_the_pages() {
        let store = filled().await;
        let counted = waiting(&store, 50).await;
        let many = counted.iter().find(|(name, _)| name == "many");
        let n = many.expect("it waits").1;
        // About a quarter of the pages: the bounds are more than ten standard deviations away.
        assert!((15_000..45_000).contains(&n), "{n}");
    }

    #[tokio::test]
    async fn a_different_handler_of_the_same_name_on_a_live_runner_is_found() {
        let store = testdb::store().await;
        let runner = async |name: &str| {
            let facts = RunnerFacts {
                name: name.to_owned(),
                host: "host".to_owned(),
                pid: 1,
                version: "1".to_owned(),
                slots: 1,
                queues: Vec::new(),
            };
            store.register(&facts).await.expect("register")
        };
        let handler = |name: &str, file: &str, digest: u8| PublishedHandler {
            info: serde_json::from_value::<HandlerInfo>(serde_json::json!({ "name": name }))
                .expect("an info"),
            digest: Digest([digest; 32]),
            file: file.to_owned(),
            plugin: "p 1".to_owned(),
        };
        let (here, there) = (runner("here").await, runner("there").await);
        let mine = [
            handler("same_file", "a.wasm", 1),
            handler("renamed", "a.wasm", 1),
            handler("contested", "a.wasm", 1),
            handler("alone", "a.wasm", 1),
        ];
        let theirs = [
            handler("same_file", "a.wasm", 2),
            handler("renamed", "b.wasm", 1),
            handler("contested", "b.wasm", 2),
            handler("other", "b.wasm", 2),
        ];
        store
            .publish_handlers(there, &theirs)
            .await
            .expect("publish");
        let look = async || {
            let look = store.push_look(here, &mine).await.expect("a look");
            look.elsewhere
        };
        assert_eq!(look().await, [Name::new("contested").expect("a name")]);
        store.retire(there).await.expect("retire");
        assert!(look().await.is_empty());
    }
}
