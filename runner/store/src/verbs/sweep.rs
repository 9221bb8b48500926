//! Finds lanes and stragglers that claims do not know, separately from claims.

use std::time::{Duration, Instant};

use tokio_postgres::Row;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::sql::sql;
use crate::verbs::lanes::Lanes;
use crate::verbs::lanes::lane::{LaneKey, Paused};
use crate::verbs::lanes::sweep::{LanePosition, Range, Slice};
use pgtq_task::Name;

/// Approximate duration of a slice of a sweep.
const SLICE: Duration = Duration::from_millis(50);
/// The same for an idle claimer: between slices it reads known lanes, and queues that
/// notifications name.
const IDLE_SLICE: Duration = Duration::from_millis(20);
/// Time limit on the server for reading the queues that notifications named.
const LOOK_PATIENCE: Duration = Duration::from_millis(100);

impl Store {
    /// Makes the next slice of a sweep if it is due, and searches for stragglers. True: the
    /// claimer may know more now. Returns an error only if a privilege is missing, which the
    /// caller must report: a claim without lanes would just find nothing.
    pub(crate) async fn sweep_if_due(
        &self,
        lanes: &mut Lanes,
        is_idle: bool,
    ) -> Result<bool, StoreError> {
        let started = Instant::now();
        if !lanes.sweep_due(is_idle, started) {
            return Ok(false);
        }
        let length = match is_idle {
            true => IDLE_SLICE,
            false => SLICE,
        };
        if let Err(error) = self.sweep(lanes, length).await {
            lanes.sweep_failed(started.elapsed());
            if matches!(error, StoreError::Denied { .. }) {
                return Err(error);
            }
            tracing::debug!(%error, "could not look for new lanes; trying again");
            return Ok(false);
        }
        if let Err(error) = self.search(lanes).await {
            tracing::debug!(%error, "could not look for stragglers; trying again");
        }
        Ok(true)
    }

    /// Reads the queues that notifications named. If it fails, a sweep finds their tasks.
    pub(crate) async fn read_named_queues(&self, lanes: &mut Lanes) {
        let ranges = lanes.named_ranges();
        if ranges.is_empty() {
            return;
        }
        let found = async {
            let mut lease = self.lease(Role::Claim, "read named queues").await?;
            self.read_slice(&mut lease, lanes, &ranges, IDLE_SLICE, Some(LOOK_PATIENCE))
                .await
        };
        match found.await {
            Ok(slice) => lanes.looked(slice.found),
            Err(error) => {
                tracing::debug!(%error, "could not read the queues named by notifications");
            }
        }
    }

    async fn sweep(&self, lanes: &mut Lanes, length: Duration) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut lease = self.lease(Role::Claim, "look for lanes").await?;
        let rows = lease.query(sql!("pauses"), &[]).await?;
        lanes.set_paused(Paused::new(
            rows.iter().map(|row| (row.get("kind"), row.get("name"))),
        ));
        let ranges = lanes.ranges();
        let slice = self
            .read_slice(&mut lease, lanes, &ranges, length, lanes.guard())
            .await?;
        lanes.swept(&ranges, slice, started.elapsed());
        Ok(())
    }

    /// Reads lanes of these ranges for about this length of time, and at most for `patience`.
    async fn read_slice(
        &self,
        lease: &mut Lease<'_>,
        lanes: &Lanes,
        ranges: &[Range],
        length: Duration,
        patience: Option<Duration>,
    ) -> Result<Slice, StoreError> {
        let handlers: Vec<&str> = lanes.handlers().iter().map(Name::as_str).collect();
        let (from, to) = (columns(ranges, |r| &r.from), columns(ranges, |r| &r.to));
        let millis = length.as_secs_f64() * 1e3;
        let statement = sql!("lanes");
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &handlers, &from.0, &from.1, &from.2, &to.0, &to.1, &to.2, &millis,
        ];
        let rows = match patience {
            None => lease.query(statement, &params).await,
            Some(patience) => {
                lease.begin_for(patience).await?;
                match lease.query(statement, &params).await {
                    Ok(rows) => lease.commit().await.map(|()| rows),
                    Err(error) => {
                        // The connection is kept for claims.
                        let _ = lease.rollback().await;
                        Err(error)
                    }
                }
            }
        }?;
        Ok(slice(&rows, ranges))
    }

    async fn search(&self, lanes: &mut Lanes) -> Result<(), StoreError> {
        let started = Instant::now();
        let stretches = lanes.stretches(started);
        if stretches.is_empty() {
            return Ok(());
        }
        let queues: Vec<&str> = stretches.iter().map(|s| s.key.queue.as_str()).collect();
        let handlers: Vec<&str> = stretches.iter().map(|s| s.key.handler.as_str()).collect();
        let priorities: Vec<i32> = stretches.iter().map(|s| s.key.priority).collect();
        let after: Vec<i64> = stretches.iter().map(|s| s.after).collect();
        let upto: Vec<i64> = stretches.iter().map(|s| s.upto).collect();
        let mut lease = self.lease(Role::Claim, "look for stragglers").await?;
        let rows = lease
            .query(
                sql!("stragglers"),
                &[&queues, &handlers, &priorities, &after, &upto],
            )
            .await;
        // An error counts as an expensive search that found nothing: the next stretch is
        // shorter.
        let found: Vec<(usize, i64)> = rows
            .as_ref()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|row| {
                let n = usize::try_from(row.get::<_, i64>("n")).ok()?;
                Some((n.checked_sub(1)?, row.get("position")))
            })
            .collect();
        lanes.searched(&stretches, &found, started.elapsed());
        rows.map(drop)
    }
}

type Columns<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<i64>);

fn columns(ranges: &[Range], end: impl Fn(&Range) -> &LanePosition) -> Columns<'_> {
    let ends: Vec<&LanePosition> = ranges.iter().map(end).collect();
    (
        ends.iter().map(|place| place.queue.as_str()).collect(),
        ends.iter().map(|place| place.handler.as_str()).collect(),
        ends.iter().map(|place| place.priority).collect(),
    )
}

/// The rows of `lanes.sql`: the last one contains the place where it stopped.
fn slice(rows: &[Row], ranges: &[Range]) -> Slice {
    let found = rows.iter().filter_map(|row| {
        let is_served = row.get::<_, Option<bool>>("is_served") == Some(true);
        is_served.then(|| {
            let key = LaneKey {
                priority: row.get("priority"),
                queue: row.get("queue"),
                handler: row.get("handler"),
            };
            (key, row.get("position"))
        })
    });
    Slice {
        found: found.collect(),
        stopped: rows.last().and_then(|row| stopped(row, ranges)),
    }
}

/// Where to continue after the slice with this last row; `None` if the slice was complete.
fn stopped(last: &Row, ranges: &[Range]) -> Option<LanePosition> {
    let n_begun = usize::try_from(last.get::<_, i64>("n")).unwrap_or(0);
    match n_begun.checked_sub(1) {
        _ if last.get("is_full") => Some(place(last)),
        None => ranges.first().map(|first| first.from.clone()),
        Some(_) if n_begun >= ranges.len() => None,
        Some(n) => ranges.get(n).map(|range| range.to.clone()),
    }
}

fn place(row: &Row) -> LanePosition {
    LanePosition {
        queue: row.get("queue"),
        handler: row.get("handler"),
        priority: row.get::<_, i32>("priority").into(),
    }
}
