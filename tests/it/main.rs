//! Tests of whole processes: the program, a real Postgres, real plugins.

mod support;
mod tidy;
