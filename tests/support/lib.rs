//! What the whole-process tests stand on.
//!
//! One private Postgres per test process, a fresh database per test, the example
//! plugins built once, the real program run as a child, small servers on loopback for
//! what plugins send, a proxy that breaks connections. Promises: nothing of
//! it outlives the test process, however that ends. Does not: mock, or sleep a
//! fixed time; [`wait_until`] waits for the state itself.

mod certificates;
mod database;
mod http_page;
mod http_server;
mod machine;
mod pair;
mod plugins;
mod pooler;
mod process;
mod proxy;
mod role;
mod runner;
mod smtp_server;
mod sql;
mod wait;

pub use certificates::{Authority, Identity};
pub use database::Database;
pub use http_page::http_page;
pub use http_server::{HttpAnswer, HttpRequest, HttpServer};
pub use machine::{on_terminal, wrong_clock};
pub use pair::Pair;
pub use plugins::{hello_version, plugin, plugin_dir, repository};
pub use pooler::Pooler;
pub use process::{Finished, cli, cli_of, other_program, program};
pub use proxy::{Fate, Hit, Proxy, Rule};
pub use role::{User, give_rows, login_role};
pub use runner::{Runner, RunnerOptions};
pub use smtp_server::{Mail, SmtpServer};
pub use sql::Sql;
pub use wait::{PATIENCE, wait_until, wait_until_async};
