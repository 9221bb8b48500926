//! Databases for tests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pgtq_setup::postgres::{PrivatePostgres, ServerOptions};
use pgtq_store::{DatabaseConfig, Store};

/// The template of migrated databases.
const TEMPLATE: &str = "pgtq_template";

/// The database of one test. Dropping this drops the database.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// A database with the current schema. Takes about 60 ms; the first call in a test
    /// process also starts the server and migrates. Blocks.
    pub fn migrated() -> Self {
        template();
        Self::copy_of(Some(TEMPLATE))
    }

    /// An empty database. Blocks.
    pub fn empty() -> Self {
        Self::copy_of(None)
    }

    fn copy_of(template: Option<&str>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = server()
            .create_database(&name, template)
            .expect("the private server creates databases");
        Database { name, url }
    }

    /// The URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A store connected to the database.
    pub async fn store(&self) -> Store {
        store(&self.url).await
    }

    /// A plain connection, for SQL. It ends with the client.
    pub async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls)
            .await
            .expect("the private server accepts connections");
        tokio::spawn(connection);
        client
    }

    /// The process id of the server, for tests that stop it.
    pub fn server_pid(&self) -> u32 {
        server().pid().expect("this process started the server")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server ends with the process. A database takes 8 MB until then.
        let _ = server().drop_database(&self.name);
    }
}

async fn store(url: &str) -> Store {
    let config = DatabaseConfig::parse(url).expect("the URL of the private server is valid");
    Store::connect(config)
        .await
        .expect("the private server accepts connections")
}

/// The server of this test process. It ends with the process.
fn server() -> &'static PrivatePostgres {
    static SERVER: OnceLock<PrivatePostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        PrivatePostgres::start(&ServerOptions::ephemeral(), &|line| eprintln!("{line}"))
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Creates the template, once.
fn template() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let url = server()
            .create_database(TEMPLATE, None)
            .expect("the private server creates databases");
        // A separate runtime on a separate thread: the caller may be in a runtime. When
        // it ends, all connections to the template are closed, which Postgres requires
        // for a copy.
        let migrating = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let store = store(&url).await;
                store
                    .migrate()
                    .await
                    .expect("an empty database is migrated");
            });
        });
        migrating.join().expect("the template is migrated");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_test_has_its_own_migrated_database() {
        let (one, other) = (Database::migrated(), Database::migrated());
        assert_ne!(one.url(), other.url());
        one.store().await.check_schema().await.unwrap();
        let client = one.client().await;
        client
            .batch_execute("CREATE TABLE mine (id int)")
            .await
            .unwrap();
        let found = other
            .client()
            .await
            .query("SELECT 1 FROM pg_tables WHERE tablename = 'mine'", &[])
            .await
            .unwrap();
        assert!(found.is_empty());
    }
}
