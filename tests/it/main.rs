//! Tests of whole processes: the program, a real Postgres, real plugins.

mod containment;
mod crash;
mod outage;
mod reload;
mod support;
mod tasks;
mod tidy;
