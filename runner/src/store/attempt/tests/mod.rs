//! An attempt's SQL and saved values against a real Postgres.

mod commit;
mod hostile;
mod saved;
mod scene;
mod values;
