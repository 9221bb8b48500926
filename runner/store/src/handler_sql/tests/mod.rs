//! An attempt's SQL and saved values against a real Postgres.

mod budgets;
mod commit;
mod doomed;
mod fixture;
mod hostile;
mod logins;
mod nested;
mod pooled;
mod saved;
mod secrets;
mod stopped;
mod values;
