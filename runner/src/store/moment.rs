//! Times of the database that a program cannot hold.
//!
//! Postgres goes on to the year 294276, and to infinity; a `Timestamp` ends with the
//! year 9999. Newer schemas refuse such times, older ones took them.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::{FromSql, Type, accepts};

/// 2000-01-01T00:00:00Z, from which Postgres counts, in Unix seconds.
const EPOCH: i64 = 946_684_800;

/// A moment, or the end of time in its direction.
pub(super) struct Moment(pub(super) Timestamp);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let micros = i64::from_sql(ty, raw)?;
        let epoch = Timestamp::from_second(EPOCH)?;
        let moment = epoch.checked_add(SignedDuration::from_micros(micros));
        let end = match micros < 0 {
            true => Timestamp::MIN,
            false => Timestamp::MAX,
        };
        Ok(Moment(moment.unwrap_or(end)))
    }

    accepts!(TIMESTAMPTZ);
}

#[cfg(test)]
mod tests {
    use super::super::testdb;
    use super::*;

    #[tokio::test]
    async fn times_that_a_program_cannot_hold_are_clamped() {
        let store = testdb::store().await;
        let client = testdb::psql(&store).await;
        for (text, read) in [
            (
                "2026-03-04 05:06:07.000008+00",
                "2026-03-04T05:06:07.000008Z",
            ),
            ("1999-12-31 23:59:59+00", "1999-12-31T23:59:59Z"),
            ("10000-01-01 00:00:00+00", "9999-12-30T22:00:00.999999999Z"),
            ("infinity", "9999-12-30T22:00:00.999999999Z"),
            ("-infinity", "-009999-01-02T01:59:59Z"),
        ] {
            let ask = format!("SELECT timestamptz '{text}'");
            let row = client.query_one(&ask, &[]).await.expect("select");
            assert_eq!(row.get::<_, Moment>(0).0.to_string(), read, "{text}");
        }
    }
}
