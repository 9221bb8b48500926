//! Databases for tests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use pgtq_setup::postgres::{Options, PrivatePostgres};
use pgtq_store::{DatabaseConfig, Store};

/// The database that migrated ones are copied from.
const TEMPLATE: &str = "pgtq_template";

/// A database of one test, dropped with it.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// One with the schema in its newest form. Takes about 60 ms; the first of a
    /// test process also starts the server and migrates. Blocks.
    pub fn migrated() -> Self {
        template();
        Self::copy_of(Some(TEMPLATE))
    }

    /// One without anything in it. Blocks.
    pub fn empty() -> Self {
        Self::copy_of(None)
    }

    fn copy_of(template: Option<&str>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = server()
            .create_database(&name, template)
            .expect("the private server makes databases");
        Database { name, url }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store on it.
    pub async fn store(&self) -> Store {
        store(&self.url).await
    }

    /// A plain connection, for looking at it with SQL. It ends with the client.
    pub async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls)
            .await
            .expect("the private server answers");
        tokio::spawn(connection);
        client
    }

    /// The process id of the server, for tests of its absence.
    pub fn server_pid(&self) -> u32 {
        server().pid().expect("it was started by this process")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server goes with the process; a database that stays costs 8 MB.
        let _ = server().drop_database(&self.name);
    }
}

async fn store(url: &str) -> Store {
    let config = DatabaseConfig::parse(url).expect("the private server has a good url");
    Store::connect(config)
        .await
        .expect("the private server answers")
}

/// The server of this test process. Never dropped: it ends with the process.
fn server() -> &'static PrivatePostgres {
    static SERVER: OnceLock<PrivatePostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        PrivatePostgres::start(&Options::ephemeral(), &|line| eprintln!("{line}"))
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Makes the template once.
fn template() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let url = server()
            .create_database(TEMPLATE, None)
            .expect("the private server makes databases");
        // A runtime of its own, in a thread of its own: the caller may be in one
        // already, and when it ends no connection to the template is left, which
        // Postgres asks for before it copies.
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
    async fn each_test_has_a_migrated_database_of_its_own() {
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
