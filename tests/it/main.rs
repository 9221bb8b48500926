//! Tests of whole processes: the program, a real Postgres, real plugins.

mod concurrency;
mod containment;
mod crash;
mod outage;
mod reload;
mod shutdown;
mod support;
mod tasks;
mod tidy;
