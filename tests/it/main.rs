//! Tests of whole processes: the program, a real Postgres, real plugins.

mod bad_input;
mod cases;
mod commits;
mod concurrency;
mod containment;
mod crash;
mod exactly_once;
mod fencing;
mod grants;
mod lifecycle;
mod live;
mod native;
mod outage;
mod plugins;
mod public;
mod readme;
mod reload;
mod scene;
mod shutdown;
mod soak;
mod support;
mod tasks;
mod tidy;
mod unknown;
mod wake;
mod work;
