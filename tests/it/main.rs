//! Tests of whole processes: the program, a real Postgres, real plugins.

mod bad_input;
mod concurrency;
mod containment;
mod crash;
mod lifecycle;
mod live;
mod outage;
mod plugins;
mod readme;
mod reload;
mod scene;
mod shutdown;
mod support;
mod tasks;
mod tidy;
mod work;
