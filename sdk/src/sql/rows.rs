//! The answer of a statement.

use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde_json::Value;

use crate::args::found;
use crate::error::{Error, Result};

/// The contract's answer.
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

/// The rows of a statement, in its order: `for row in rows`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    columns: Rc<[Column]>,
    rows: Vec<Vec<Value>>,
    affected: u64,
}

impl Rows {
    /// Reads the contract's answer.
    #[cfg(any(test, target_arch = "wasm32"))]
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let answer: Answer = serde_json::from_str(text)
            .map_err(|error| Error::new(format!("the runner's answer to SQL is odd: {error}")))?;
        Ok(Rows {
            columns: answer.columns.into(),
            rows: answer.rows,
            affected: answer.affected,
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows the statement read, wrote or removed.
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// The columns' names, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// All rows as values of a type, see [`Row::into`].
    ///
    /// # Errors
    /// As [`Row::into`], at the first row that does not fit.
    pub fn into_vec<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        self.into_iter().map(Row::into).collect()
    }
}

/// For answers of fakes; see [`TestCtx::on_sql`](crate::TestCtx::on_sql).
#[cfg(not(target_arch = "wasm32"))]
impl Rows {
    /// Rows of an answer: `Rows::of(["id", "email"], [(1, "ada@example.com")])`.
    ///
    /// # Panics
    /// If a row is not a list with one value for each column.
    pub fn of<const N: usize>(columns: [&str; N], rows: impl serde::Serialize) -> Self {
        let rows = crate::json::value(&rows).expect("rows are JSON");
        let rows: Vec<Vec<Value>> = serde_json::from_value(rows)
            .expect("rows are a list of lists or tuples, one value for each column");
        for row in &rows {
            assert_eq!(row.len(), N, "a row has one value for each column");
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

    /// The answer of a statement that returns no rows and touches this many.
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

/// Hands out rows one by one.
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

/// What names a column: its name, or its place from 0.
pub trait ColumnName: Copy {
    /// The place among the names, if there is such a column.
    fn place<'a>(self, names: impl Iterator<Item = &'a str>) -> Option<usize>;
    /// For messages.
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
    /// One value, by the column's name or its place. NULL fits an `Option`.
    ///
    /// # Errors
    /// Of code `row` if there is no such column, or its value is not a `T`; it
    /// retries by policy.
    pub fn get<T: DeserializeOwned>(&self, column: impl ColumnName) -> Result<T> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let Some(place) = column.place(names) else {
            let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            return Err(odd(format!(
                "there is no column {}: the answer has `{}`",
                column.shown(),
                names.join("`, `")
            )));
        };
        let value = self.values.get(place).unwrap_or(&Value::Null);
        // Values are cloned only where the type owns them.
        T::deserialize(value).map_err(|error| {
            let Column { name, kind } = &self.columns[place];
            let kind = if kind.is_empty() {
                ""
            } else {
                &format!(" ({kind})")
            };
            odd(format!(
                "column `{name}`{kind}: expected `{}`, found {} ({error})",
                std::any::type_name::<T>(),
                found(value),
            ))
        })
    }

    /// The row as a value of a type: columns are the fields of a struct, by
    /// name, or the items of a tuple, by place; the only column of a row may be
    /// the value itself.
    ///
    /// # Errors
    /// Of code `row` if it does not fit; it retries by policy.
    pub fn into<T: DeserializeOwned>(self) -> Result<T> {
        T::deserialize(self).map_err(|error: serde_json::Error| {
            let wanted = std::any::type_name::<T>();
            odd(format!("a row is not a `{wanted}`: {error}"))
        })
    }
}

fn odd(message: String) -> Error {
    Error::new(message).code("row")
}

/// A row is what the type makes of it.
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

    /// An answer of the contract.
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
    fn values_are_found_by_name_and_by_place() {
        let mut all = rows().into_iter();
        let (first, second) = (all.next().expect("two"), all.next().expect("two"));
        assert_eq!(first.get::<i64>("id"), Ok(7));
        assert_eq!(first.get::<String>(1), Ok("ada@example.com".to_owned()));
        assert_eq!(first.get::<Bytes>("photo"), Ok(Bytes(vec![255, 0])));
        assert_eq!(second.get::<Option<String>>("email"), Ok(None));
        assert_eq!(second.get::<Option<Bytes>>(2), Ok(None));
    }

    #[test]
    fn a_value_that_does_not_fit_is_explained() {
        let row = rows().into_iter().nth(1).expect("two");
        for (error, message) in [
            (
                row.get::<i64>("mail").expect_err("no such column"),
                "there is no column `mail`: the answer has `id`, `email`, `photo`",
            ),
            (
                row.get::<i64>(3).expect_err("no such column"),
                "there is no column 3: the answer has `id`, `email`, `photo`",
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
                .starts_with("a row is not a `(i64, alloc::string::String)`")
        );
    }

    #[test]
    fn a_row_is_a_struct_a_tuple_a_map_or_its_only_value() {
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
