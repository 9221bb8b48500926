//! Tests of whole processes: the program, a real Postgres, real plugins.

mod reload;
mod support;
mod tasks;
mod tidy;
