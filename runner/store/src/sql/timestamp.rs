//! Database times: microseconds, without a calendar.
//!
//! Postgres supports times up to the year 294276, and infinity; a `Timestamp` ends with the year
//! 9999. Newer schemas reject such times, older ones accepted them.
//!
//! Every task's times are converted here, since plain numbers cost a few ns where the
//! conversions of the driver took 2 % of a busy runner (PERFORMANCE.md).

use std::error::Error;

use bytes::BytesMut;
use jiff::Timestamp;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// 2000-01-01T00:00:00Z, Postgres's epoch, in Unix microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// A point in time, clamped to the range of `Timestamp`. The database stores whole microseconds:
/// fractions are truncated on the way there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DbTimestamp(pub(crate) Timestamp);

impl<'a> FromSql<'a> for DbTimestamp {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_sql(ty, raw)?;
        let end = match micros < 0 {
            true => Timestamp::MIN,
            false => Timestamp::MAX,
        };
        let since_unix = micros.checked_add(EPOCH);
        let moment = since_unix.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Ok(DbTimestamp(moment.unwrap_or(end)))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for DbTimestamp {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        (self.0.as_microsecond() - EPOCH).to_sql(ty, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdb;

    #[tokio::test]
    async fn times_out_of_range_are_clamped() {
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
            assert_eq!(row.get::<_, DbTimestamp>(0).0.to_string(), read, "{text}");
        }
    }

    #[tokio::test]
    async fn a_time_round_trips_through_the_database() {
        let store = testdb::store().await;
        let client = testdb::psql(&store).await;
        for text in [
            "2026-03-04T05:06:07.000008Z",
            "1999-12-31T23:59:59.999999Z",
            "1969-07-20T20:17:40.000001Z",
            "0001-01-01T00:00:00Z",
            "9999-12-30T21:59:59.999999Z",
        ] {
            let moment = DbTimestamp(text.parse().expect("a time"));
            let ask = "SELECT $1::timestamptz, $1 = $2::text::timestamptz";
            let row = client.query_one(ask, &[&moment, &text]).await;
            let row = row.expect("select");
            assert_eq!(row.get::<_, DbTimestamp>(0).0.to_string(), text);
            assert!(row.get::<_, bool>(1), "{text}");
        }
    }
}
