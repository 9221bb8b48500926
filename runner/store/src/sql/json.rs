//! JSON as unparsed text.
//!
//! Its binary format is the text; that of `jsonb` is a version, 1, and the text.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A value sent to the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl ToSql for Json<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty == Type::JSONB {
            out.put_u8(1);
        }
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSON, JSONB);
    to_sql_checked!();
}

/// A value from the database.
#[derive(Debug)]
pub(crate) struct JsonText(pub(crate) String);

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let text = match (*ty == Type::JSONB, raw) {
            (true, [1, text @ ..]) | (false, text) => text,
            _ => return Err("unknown version of jsonb".into()),
        };
        Ok(JsonText(std::str::from_utf8(text)?.to_owned()))
    }

    accepts!(JSON, JSONB);
}
