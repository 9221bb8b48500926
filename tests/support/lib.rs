//! Support for the whole-process tests.
//!
//! One private Postgres per test process, a new database per test, the example plugins
//! built once, pgtq as a child process, servers on loopback for requests of plugins, a
//! proxy that breaks connections. All of it ends with the test process, even by SIGKILL.
//! There are no mocks and no sleeps of a fixed time: [`wait_until`] waits for a
//! condition.

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
pub use http_server::{HttpRequest, HttpResponse, HttpServer};
pub use machine::{on_terminal, wrong_clock};
pub use pair::Pair;
pub use plugins::{hello_version, plugin, plugin_dir, repository};
pub use pooler::Pooler;
pub use process::{Finished, cli, cli_of, other_program, program};
pub use proxy::{Fault, Hit, Proxy, Rule};
pub use role::{User, create_app_rows, login_role};
pub use runner::{Runner, RunnerOptions};
pub use smtp_server::{Mail, SmtpServer};
pub use sql::Sql;
pub use wait::{PATIENCE, wait_until, wait_until_async};
