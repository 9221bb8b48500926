//! Tests of the proxy with a real server.

use tokio_postgres::{Client, NoTls};

use super::{Fault, Proxy, Rule};
use crate::Database;
use crate::wait::wait_until_async;

/// A database with an empty table, a proxy to it, and a direct connection.
async fn fixture() -> (Database, Proxy, Client) {
    let database = Database::empty();
    let direct = database.client().await;
    let dir = ask(&direct, "SELECT current_setting('unix_socket_directories')").await;
    direct
        .batch_execute("CREATE TABLE notes (note text)")
        .await
        .unwrap();
    (database, Proxy::start(dir.unwrap()), direct)
}

async fn through(proxy: &Proxy, direct: &Client) -> Client {
    let name = ask(direct, "SELECT current_database()::text")
        .await
        .unwrap();
    let (client, connection) = tokio_postgres::connect(&proxy.url(&name), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &Client, text: &str) -> Result<String, tokio_postgres::Error> {
    client.query_one(text, &[]).await.map(|row| row.get(0))
}

async fn notes(direct: &Client) -> String {
    let text = "SELECT coalesce(string_agg(note, ' ' ORDER BY note), '') FROM notes";
    ask(direct, text).await.unwrap()
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_a_statement() {
    let (_database, proxy, direct) = fixture().await;
    let faults = [Fault::CutBefore, Fault::CutAfter, Fault::None];
    proxy.rule(Rule::on("INSERT INTO notes").faults(&faults));
    for (note, arrives) in [("before", false), ("after", true), ("none", true)] {
        let client = through(&proxy, &direct).await;
        let result = client
            .execute("INSERT INTO notes VALUES ($1)", &[&note])
            .await;
        assert_eq!(result.is_ok(), note == "none");
        assert_eq!(notes(&direct).await.contains(note), arrives, "{note}");
    }
    assert_eq!(proxy.hits().len(), 2);
    assert_eq!(proxy.n_hits("INSERT", Fault::CutAfter), 1);
}

#[tokio::test]
async fn a_commit_takes_effect_when_the_connection_is_cut_during_it() {
    let (_database, proxy, direct) = fixture().await;
    proxy.rule(
        Rule::exactly("COMMIT")
            .of("pgtq")
            .faults(&[Fault::CutDuring]),
    );
    let client = through(&proxy, &direct).await;
    let text = "BEGIN; INSERT INTO notes VALUES ('meanwhile')";
    client.batch_execute(text).await.unwrap();
    assert!(client.batch_execute("COMMIT").await.is_err());
    wait_until_async("the commit takes effect", || async {
        notes(&direct).await == "meanwhile"
    })
    .await;
}

#[tokio::test]
async fn messages_are_forwarded_when_a_black_hole_ends() {
    let (_database, proxy, direct) = fixture().await;
    let client = through(&proxy, &direct).await;
    proxy.set_black_hole(true);
    let note = tokio::spawn(async move {
        let text = "INSERT INTO notes VALUES ('from the hole')";
        client.batch_execute(text).await
    });
    assert_eq!(notes(&direct).await, "");
    proxy.set_black_hole(false);
    note.await.unwrap().unwrap();
    assert_eq!(notes(&direct).await, "from the hole");
}

#[tokio::test]
async fn only_the_matching_connection_is_held() {
    let (_database, proxy, direct) = fixture().await;
    proxy.rule(Rule::on("'held'").faults(&[Fault::Hold]));
    let (one, other) = (
        through(&proxy, &direct).await,
        through(&proxy, &direct).await,
    );
    let held = tokio::spawn(async move {
        let text = "INSERT INTO notes VALUES ('held')";
        one.batch_execute(text).await
    });
    wait_until_async("it is held", || async { proxy.hits().len() == 1 }).await;
    let text = "INSERT INTO notes VALUES ('other')";
    other.batch_execute(text).await.unwrap();
    assert_eq!(notes(&direct).await, "other");
    proxy.release();
    held.await.unwrap().unwrap();
    assert_eq!(notes(&direct).await, "held other");
    assert!(proxy.cut() >= 2);
    assert!(other.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn a_statement_is_rewritten() {
    let (_database, proxy, direct) = fixture().await;
    proxy.rewrite("'a'", "'b'");
    let client = through(&proxy, &direct).await;
    client
        .execute("INSERT INTO notes VALUES ('a')", &[])
        .await
        .unwrap();
    assert_eq!(notes(&direct).await, "b");
}
