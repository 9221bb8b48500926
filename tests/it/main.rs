//! Tests of whole processes: the program, a real Postgres, real plugins.

mod bad_input;
mod lifecycle;
mod plugins;
mod scene;
mod support;
mod tidy;
