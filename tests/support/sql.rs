//! A blocking SQL client for tests.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// One connection. Its functions block, and panic on errors.
#[derive(Debug)]
pub struct Sql {
    runtime: Runtime,
    client: Client,
}

impl Sql {
    /// Connects, or panics.
    #[track_caller]
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Connects to a server that may be down.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn try_connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })?;
        Ok(Sql { runtime, client })
    }

    /// The rows of all results. Columns are in text format, joined by `|`; NULL is empty.
    #[track_caller]
    pub fn rows(&self, statement: &str) -> Vec<String> {
        let rows = self.try_rows(statement);
        rows.unwrap_or_else(|error| panic!("{statement}\n{error:?}"))
    }

    /// As [`Sql::rows`], on a server that may go down.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn try_rows(&self, statement: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let result = self.runtime.block_on(self.client.simple_query(statement));
        let messages = result?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let joined = rows.map(|row| {
            let columns: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("")).collect();
            columns.join("|")
        });
        Ok(joined.collect())
    }

    /// The only row.
    #[track_caller]
    pub fn row(&self, statement: &str) -> String {
        let mut rows = self.rows(statement);
        assert_eq!(rows.len(), 1, "{statement}\n{rows:?}");
        rows.remove(0)
    }

    /// The only column of the only row, an integer.
    #[track_caller]
    pub fn number(&self, statement: &str) -> i64 {
        let text = self.row(statement);
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{statement}\n{text:?} is not a number"))
    }
}
