//! The statements of `sql/`, and the types of their parameters.

pub(crate) mod columns;
pub(crate) mod json;
pub(crate) mod outcomes;
pub(crate) mod timestamp;

use std::borrow::Cow;

use tokio_postgres::types::Type;

/// One statement.
pub(crate) struct Sql {
    /// Prepared once for each connection under this name; `None` for generated texts.
    pub(crate) name: Option<&'static str>,
    /// Unrendered, with `{{schema}}`, `{{channel}}` and lists of columns.
    pub(crate) text: Cow<'static, str>,
}

/// The statement in `sql/<name>.sql`.
macro_rules! sql {
    ($name:literal) => {
        &$crate::sql::Sql {
            name: Some($name),
            text: std::borrow::Cow::Borrowed(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/sql/",
                $name,
                ".sql"
            ))),
        }
    };
}
pub(crate) use sql;

impl Sql {
    /// The types of `$1`, `$2`, ..., from the cast that every parameter has in pgtq's
    /// statements. Without a named statement the server does not report them.
    pub(crate) fn types(&self) -> impl Iterator<Item = Type> + '_ {
        let text = columns::render(&self.text);
        (1..).map_while(move |n| {
            let marker = format!("${n}::");
            let start = text.find(&marker)? + marker.len();
            let tail = &text[start..];
            let end = tail
                .find(|c: char| !c.is_ascii_alphanumeric() && !"[]_".contains(c))
                .unwrap_or(tail.len());
            Some(named(&tail[..end]))
        })
    }
}

fn named(name: &str) -> Type {
    match name {
        "bigint" => Type::INT8,
        "bigint[]" => Type::INT8_ARRAY,
        "integer" => Type::INT4,
        "integer[]" => Type::INT4_ARRAY,
        "float8" => Type::FLOAT8,
        "float8[]" => Type::FLOAT8_ARRAY,
        "boolean" => Type::BOOL,
        "text" => Type::TEXT,
        "text[]" => Type::TEXT_ARRAY,
        "json[]" => Type::JSON_ARRAY,
        "jsonb[]" => Type::JSONB_ARRAY,
        "bytea" => Type::BYTEA,
        "bytea[]" => Type::BYTEA_ARRAY,
        "timestamptz" => Type::TIMESTAMPTZ,
        "timestamptz[]" => Type::TIMESTAMPTZ_ARRAY,
        other => unreachable!("a statement of ours casts a parameter to {other}"),
    }
}
