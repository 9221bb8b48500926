//! An attempt's SQL and saved values against a real Postgres.

mod commit;
mod fixture;
mod hostile;
mod nested;
mod saved;
mod secrets;
mod stopped;
mod values;
