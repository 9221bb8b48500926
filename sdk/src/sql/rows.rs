//! The rows returned by a statement.

use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde_json::Value;

use crate::args::found;
use crate::error::{Error, Result};

/// The contract's response to a statement.
#[cfg(any(test, target_arch = "wasm32"))]
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    columns: Vec<Column>,
    #[serde(default)]
    rows: Vec<Vec<Value>>,
    #[serde(default)]
    affected: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// The rows returned by a statement, in order: `for row in rows`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    columns: Rc<[Column]>,
    rows: Vec<Vec<Value>>,
    affected: u64,
}

impl Rows {
    /// Parses the contract's response.
    #[cfg(any(test, target_arch = "wasm32"))]
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let answer: Answer = serde_json::from_str(text).map_err(|error| {
            Error::new(format!("the runner's SQL response is not valid: {error}"))
        })?;
        Ok(Rows {
            columns: answer.columns.into(),
            rows: answer.rows,
            affected: answer.affected,
        })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of rows that the statement selected, inserted, updated or
    /// deleted.
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// The names of the columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Converts all rows: see [`Row::into`].
    ///
    /// # Errors
    /// As [`Row::into`], for the first row that is not a `T`.
    ///
    /// ```
    /// use pgtq_sdk::prelude::*;
    /// use pgtq_sdk::sql::Rows;
    ///
    /// #[derive(Deserialize)]
    /// struct User {
    ///     id: i64,
    ///     email: Option<String>,
    /// }
    ///
    /// let rows = Rows::of(["id", "email"], json!([[1, "ada@example.com"], [2, null]]));
    /// let users: Vec<User> = rows.into_vec().unwrap();
    /// assert_eq!(users[1].email, None);
    /// ```
    pub fn into_vec<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        self.into_iter().map(Row::into).collect()
    }
}

/// For fakes: see [`TestCtx::on_sql`](crate::TestCtx::on_sql).
#[cfg(not(target_arch = "wasm32"))]
impl Rows {
    /// The given rows: `Rows::of(["id", "email"], [(1, "ada@example.com")])`.
    ///
    /// # Panics
    /// If a row is not a list or tuple with one value per column.
    pub fn of<const N: usize>(columns: [&str; N], rows: impl serde::Serialize) -> Self {
        let rows = crate::json::value(&rows).expect("rows are JSON");
        let rows: Vec<Vec<Value>> = serde_json::from_value(rows)
            .expect("rows are a list of lists or tuples, with one value per column");
        for row in &rows {
            assert_eq!(row.len(), N, "a row has one value per column");
        }
        let columns = columns.map(|name| Column {
            name: name.to_owned(),
            kind: String::new(),
        });
        Rows {
            columns: columns.into(),
            affected: rows.len() as u64,
            rows,
        }
    }

    /// The response to a statement that returns no rows and affects this many.
    pub fn affected_only(affected: u64) -> Self {
        Rows {
            columns: [].into(),
            rows: Vec::new(),
            affected,
        }
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter {
            columns: self.columns,
            rows: self.rows.into_iter(),
        }
    }
}

/// Iterator over the rows of [`Rows`].
#[derive(Debug)]
pub struct IntoIter {
    columns: Rc<[Column]>,
    rows: std::vec::IntoIter<Vec<Value>>,
}

impl Iterator for IntoIter {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let values = self.rows.next()?;
        let columns = Rc::clone(&self.columns);
        Some(Row { columns, values })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Rc<[Column]>,
    values: Vec<Value>,
}

/// A column's name (`&str`) or its index from 0 (`usize`).
pub trait ColumnName: Copy {
    /// The index of the column among the names; `None` if there is no such column.
    fn place<'a>(self, names: impl Iterator<Item = &'a str>) -> Option<usize>;
    /// The column for error messages.
    fn shown(self) -> String;
}

impl ColumnName for &str {
    fn place<'a>(self, mut names: impl Iterator<Item = &'a str>) -> Option<usize> {
        names.position(|name| name == self)
    }

    fn shown(self) -> String {
        format!("`{self}`")
    }
}

impl ColumnName for usize {
    fn place<'a>(self, names: impl Iterator<Item = &'a str>) -> Option<usize> {
        (self < names.count()).then_some(self)
    }

    fn shown(self) -> String {
        self.to_string()
    }
}

impl Row {
    /// The value of a column, by name or index. Use an `Option` for a column that
    /// can be NULL.
    ///
    /// # Errors
    /// Code `row` if there is no such column or its value is not a `T`. The error
    /// retries by policy.
    pub fn get<T: DeserializeOwned>(&self, column: impl ColumnName) -> Result<T> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let Some(place) = column.place(names) else {
            let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(invalid(format!(
                "there is no column {}: the columns are `{}`",
                column.shown(),
                names.join("`, `")
            )));
        };
        let value = self.values.get(place).unwrap_or(&Value::Null);
        // By reference: values are cloned only for types that own them.
        T::deserialize(value).map_err(|error| {
            let Column { name, kind } = &self.columns[place];
            let kind = if kind.is_empty() {
                ""
            } else {
                &format!(" ({kind})")
            };
            invalid(format!(
                "column `{name}`{kind}: expected `{}`, found {} ({error})",
                std::any::type_name::<T>(),
                found(value),
            ))
        })
    }

    /// Converts the row: columns become the fields of a struct, by name, or the
    /// items of a tuple, by index. A row with one column also converts to a plain
    /// value.
    ///
    /// # Errors
    /// Code `row` if the row is not a `T`. The error retries by policy.
    pub fn into<T: DeserializeOwned>(self) -> Result<T> {
        T::deserialize(self).map_err(|error: serde_json::Error| {
            let wanted = std::any::type_name::<T>();
            invalid(format!("the row is not a `{wanted}`: {error}"))
        })
    }
}

fn invalid(message: String) -> Error {
    Error::new(message).code("row")
}

/// The target type decides whether a row is a map, a sequence or one value.
impl<'de> serde::Deserializer<'de> for Row {
    type Error = serde_json::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match <[Value; 1]>::try_from(self.values) {
            Ok([only]) => only.deserialize_any(visitor),
            Err(values) => Row { values, ..self }.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match <[Value; 1]>::try_from(self.values) {
            Ok([only]) => only.deserialize_option(visitor),
            Err(values) => visitor.visit_some(Row { values, ..self }),
        }
    }

    fn deserialize_newtype_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let first = self.values.drain(..).next().unwrap_or(Value::Null);
        first.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_map<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        visitor.visit_map(MapDeserializer::new(names.zip(self.values)))
    }

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(SeqDeserializer::new(self.values.into_iter()))
    }

    fn deserialize_tuple<V: serde::de::Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Bytes;

    /// Two rows in the contract's format.
    fn rows() -> Rows {
        let answer = r#"{
            "columns": [
                {"name": "id", "type": "int8"}, {"name": "email", "type": "text"},
                {"name": "photo", "type": "bytea"}
            ],
            "rows": [[7, "ada@example.com", "\\xff00"], [8, null, null]],
            "affected": 2
        }"#;
        Rows::parse(answer).expect("an answer")
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        id: i64,
        email: Option<String>,
    }

    #[test]
    fn values_are_found_by_name_and_by_index() {
        let mut all = rows().into_iter();
        let (first, second) = (all.next().expect("two"), all.next().expect("two"));
        assert_eq!(first.get::<i64>("id"), Ok(7));
        assert_eq!(first.get::<String>(1), Ok("ada@example.com".to_owned()));
        assert_eq!(first.get::<Bytes>("photo"), Ok(Bytes(vec![255, 0])));
        assert_eq!(second.get::<Option<String>>("email"), Ok(None));
        assert_eq!(second.get::<Option<Bytes>>(2), Ok(None));
    }

    #[test]
    fn errors_name_the_column_and_both_types() {
        let row = rows().into_iter().nth(1).expect("two");
        for (error, message) in [
            (
                row.get::<i64>("mail").expect_err("no such column"),
                "there is no column `mail`: the columns are `id`, `email`, `photo`",
            ),
            (
                row.get::<i64>(3).expect_err("no such column"),
                "there is no column 3: the columns are `id`, `email`, `photo`",
            ),
            (
                row.get::<u8>("email").expect_err("it is NULL"),
                "column `email` (text): expected `u8`, found null (invalid type: null, expected u8)",
            ),
        ] {
            assert_eq!((error.message(), error.code_text()), (message, "row"));
        }
        let error = row
            .into::<(i64, String)>()
            .expect_err("it is NULL and there are three");
        assert!(
            error
                .message()
                .starts_with("the row is not a `(i64, alloc::string::String)`")
        );
    }

    #[test]
    fn a_row_converts_to_a_struct_a_tuple_a_map_or_its_only_value() {
        let users: Vec<User> = rows().into_vec().expect("columns are fields");
        assert_eq!((users[0].id, &users[1].email), (7, &None));
        let tuples: Vec<(i64, Option<String>, Option<Bytes>)> =
            rows().into_vec().expect("in order");
        assert_eq!(tuples[1], (8, None, None));
        let maps: Vec<BTreeMap<String, Value>> = rows().into_vec().expect("by name");
        assert_eq!(maps[0]["id"], 7);
        let objects: Vec<Value> = rows().into_vec().expect("by name");
        assert_eq!(objects[1]["email"], Value::Null);

        let only = |values: &str| {
            let answer =
                format!(r#"{{"columns": [{{"name": "n", "type": "int8"}}], "rows": {values}}}"#);
            Rows::parse(&answer).expect("an answer")
        };
        assert_eq!(only("[[1], [2]]").into_vec::<i64>(), Ok(vec![1, 2]));
        assert_eq!(only("[[null], [2]]").into_vec(), Ok(vec![None, Some(2_u8)]));
        assert_eq!(only("[[null]]").into_vec(), Ok(vec![(None::<u8>,)]));
        #[derive(Debug, PartialEq, Deserialize)]
        struct Id(u64);
        assert_eq!(only("[[5]]").into_vec(), Ok(vec![Id(5)]));
        #[derive(Debug, PartialEq, Deserialize)]
        struct Named {
            n: u8,
        }
        assert_eq!(only("[[5]]").into_vec(), Ok(vec![Named { n: 5 }]));
    }
}
