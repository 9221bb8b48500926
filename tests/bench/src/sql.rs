//! SQL of the benchmarks, on plain connections without TLS: generating a backlog, holding an
//! old snapshot, and the baseline.
//!
//! Every statement uses the field's schema, which the stage creates and drops.

use pgtq::bench::{Field, Problem};
use pgtq_task::{Name, NewTask};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, NoTls, Row};

use crate::args::PinKind;

/// Rows generated per statement, so that a statement can be stopped soon.
const FILL: u64 = 250_000;

/// A minimal queue in Postgres, without handlers, retries, leases or recovery: the upper
/// bound of any queue.
const FLOOR: &str = "
    CREATE TABLE floor_jobs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        state smallint NOT NULL DEFAULT 0,
        args json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        claimed_at timestamptz
    );
    CREATE INDEX floor_waiting ON floor_jobs (id) WHERE state = 0;
    CREATE TABLE floor_history (id bigint, args json, created_at timestamptz, done_at timestamptz)";

const FLOOR_INSERT: &str = "INSERT INTO floor_jobs (args) SELECT unnest($1::text[])::json";

const FLOOR_CLAIM: &str = "
    UPDATE floor_jobs SET state = 1, claimed_at = clock_timestamp()
    WHERE id IN (
        SELECT id FROM floor_jobs WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT $1::bigint)
    RETURNING id";

const FLOOR_FINISH: &str = "
    WITH d AS (
        DELETE FROM floor_jobs WHERE id = ANY ($1::bigint[]) AND state = 1
        RETURNING id, args, created_at
    )
    INSERT INTO floor_history (id, args, created_at, done_at)
    SELECT id, args, created_at, now() FROM d";

const FLOOR_COUNTS: &str = "
    SELECT (SELECT count(*) FROM floor_jobs) AS waiting,
           (SELECT count(DISTINCT id) FROM floor_history) AS ended";

const FILL_WAITING: &str = "
    INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
    SELECT $1::text, $2::text, 0, n.id, n.id, $3::text::json
    FROM (SELECT nextval('task_ids') AS id FROM generate_series(1, $4::bigint)) AS n";

const FILL_SCHEDULED: &str = "
    INSERT INTO scheduled_tasks (queue, handler, priority, id, args, run_at)
    SELECT $1::text, $2::text, 0, nextval('task_ids'), $3::text::json, now() + interval '1 hour'
    FROM generate_series(1, $4::bigint)";

const TOUCHED: &str =
    "SELECT EXISTS (SELECT FROM claims) OR EXISTS (SELECT FROM history) AS touched";

/// A connection with the field's schema as search_path.
pub(crate) struct Client(tokio_postgres::Client);

impl Client {
    pub(crate) async fn connect(field: &Field<'_>) -> Result<Self, Problem> {
        let url = field.stage.url()?;
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.map_err(wrong)?;
        tokio::spawn(async move {
            // The running statement reports the error.
            connection.await.ok();
        });
        let schema = field.store.config().schema.as_str();
        let path = format!("SET search_path TO \"{schema}\"");
        client.batch_execute(&path).await.map_err(wrong)?;
        Ok(Client(client))
    }

    /// Opens a transaction that prevents vacuum of dead rows until it is dropped, like a
    /// backup (reading) or a forgotten session (writing). It uses no table, so that it holds
    /// no locks and the schema can be dropped.
    pub(crate) async fn pin(field: &Field<'_>, kind: PinKind) -> Result<Self, Problem> {
        let client = Self::connect(field).await?;
        let held = match kind {
            PinKind::Read => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current_snapshot()"
            }
            PinKind::Write => "BEGIN; SELECT txid_current()",
        };
        client.0.batch_execute(held).await.map_err(wrong)?;
        Ok(client)
    }

    /// Generates `n` waiting copies of `task` in the server, due in an hour if `scheduled`.
    /// For backlogs that would take too long to push.
    pub(crate) async fn fill(
        &self,
        task: &NewTask,
        n: u64,
        scheduled: bool,
    ) -> Result<(), Problem> {
        let statement = match scheduled {
            true => FILL_SCHEDULED,
            false => FILL_WAITING,
        };
        let queue = task.queue.as_ref().map_or("default", Name::as_str);
        let handler = task.handler.as_str();
        let mut left = n;
        while left > 0 {
            let now = left.min(FILL);
            let rows = i64::try_from(now).unwrap_or(i64::MAX);
            self.run(statement, &[&queue, &handler, &&*task.args, &rows])
                .await?;
            left -= now;
        }
        Ok(())
    }

    /// Whether any task was ever claimed.
    pub(crate) async fn touched(&self) -> Result<bool, Problem> {
        Ok(self.run(TOUCHED, &[]).await?[0].get("touched"))
    }

    /// Creates the tables of the baseline.
    pub(crate) async fn floor_create(&self) -> Result<(), Problem> {
        self.0.batch_execute(FLOOR).await.map_err(wrong)
    }

    /// Prepares the statements of the baseline.
    pub(crate) async fn floor(self) -> Result<Floor, Problem> {
        Ok(Floor {
            insert: self.0.prepare(FLOOR_INSERT).await.map_err(wrong)?,
            claim: self.0.prepare(FLOOR_CLAIM).await.map_err(wrong)?,
            finish: self.0.prepare(FLOOR_FINISH).await.map_err(wrong)?,
            client: self,
        })
    }

    async fn run<S: ?Sized + tokio_postgres::ToStatement>(
        &self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Problem> {
        self.0.query(statement, params).await.map_err(wrong)
    }
}

/// A connection with the prepared statements of the baseline.
pub(crate) struct Floor {
    client: Client,
    insert: tokio_postgres::Statement,
    claim: tokio_postgres::Statement,
    finish: tokio_postgres::Statement,
}

impl Floor {
    /// Inserts `n` jobs with these arguments in one statement.
    pub(crate) async fn insert(&self, args: &str, n: usize) -> Result<(), Problem> {
        let all = vec![args; n];
        self.client.run(&self.insert, &[&all]).await.map(drop)
    }

    /// Takes and finishes up to `most` jobs. Returns their number.
    pub(crate) async fn step(&self, most: u32) -> Result<usize, Problem> {
        let rows = self.client.run(&self.claim, &[&i64::from(most)]).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get("id")).collect();
        if !ids.is_empty() {
            self.client.run(&self.finish, &[&ids]).await?;
        }
        Ok(ids.len())
    }

    /// The numbers of waiting and of distinct finished jobs.
    pub(crate) async fn counts(&self) -> Result<(u64, u64), Problem> {
        let rows = self.client.run(FLOOR_COUNTS, &[]).await?;
        let count = |name: &str| rows[0].get::<_, i64>(name).unsigned_abs();
        Ok((count("waiting"), count("ended")))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: Error) -> Problem {
    let message = error.as_db_error().map(ToString::to_string);
    let message = message.unwrap_or_else(|| error.to_string());
    Problem::failed(format!("the benchmark's own connection: {message}"))
}
