//! An attempt's SQL and saved values against a real Postgres.

mod commit;
mod hostile;
mod nested;
mod saved;
mod scene;
mod secrets;
mod stopped;
mod values;
