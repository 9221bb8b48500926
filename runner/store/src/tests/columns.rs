//! The table of columns is that of the schema.

use std::collections::BTreeMap;

use crate::sql::columns::{COLUMNS, List};
use crate::testdb::*;

/// The columns of a table of the schema, each with the name of its type.
async fn columns(table: &str) -> BTreeMap<String, String> {
    let client = psql(&store().await).await;
    let rows = client
        .query(
            "SELECT column_name::text, udt_name::text FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = $1",
            &[&table],
        )
        .await
        .expect("columns");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_final_outcome_has_every_column_of_history_with_its_type() {
    let mut history = columns("history").await;
    // The runner is that of the flush, not of an outcome.
    assert_eq!(history.remove("runner_id").as_deref(), Some("int8"));
    let types = List::Final.columns().zip(List::Final.copied());
    let ours: BTreeMap<String, String> = types
        .map(|(column, ty)| (column.name.to_owned(), ty.name().to_owned()))
        .collect();
    // JSON that a guest wrote is sent as text, and checked by the database.
    for column in ["result", "error_details", "logs"] {
        let ty = history.insert(column.to_owned(), "text".to_owned());
        assert_eq!(ty.as_deref(), Some("json"));
    }
    assert_eq!(ours, history);
}

#[tokio::test]
async fn every_list_names_columns_of_its_table() {
    for (list, table) in [
        (List::Carried, "runnable_tasks"),
        (List::Carried, "scheduled_tasks"),
        (List::Cancelled, "history"),
        (List::Attempt, "attempts"),
    ] {
        let known = columns(table).await;
        for column in list.columns() {
            assert!(known.contains_key(column.name), "{list:?}: {}", column.name);
        }
    }
    assert_eq!(List::Final.columns().count(), COLUMNS.len());
}
