//! The proxy in front of a real server.

use tokio_postgres::{Client, NoTls};

use super::{Fate, Proxy, Rule};
use crate::Database;
use crate::wait::wait_until_async;

/// A table with nothing in it, a way to it through a proxy, and one past it.
async fn scene() -> (Database, Proxy, Client) {
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
async fn a_statement_is_lost_before_or_behind_the_server() {
    let (_database, proxy, direct) = scene().await;
    let fates = [Fate::LostBefore, Fate::LostBehind, Fate::Passes];
    proxy.rule(Rule::on("INSERT INTO notes").fates(&fates));
    for (note, arrives) in [("before", false), ("behind", true), ("passes", true)] {
        let client = through(&proxy, &direct).await;
        let answer = client
            .execute("INSERT INTO notes VALUES ($1)", &[&note])
            .await;
        assert_eq!(answer.is_ok(), note == "passes");
        assert_eq!(notes(&direct).await.contains(note), arrives, "{note}");
    }
    assert_eq!(proxy.hits().len(), 2);
    assert_eq!(proxy.n_hits("INSERT", Fate::LostBehind), 1);
}

#[tokio::test]
async fn a_commit_is_lost_meanwhile_and_happens() {
    let (_database, proxy, direct) = scene().await;
    proxy.rule(
        Rule::exactly("COMMIT")
            .of("pgtq")
            .fates(&[Fate::LostMeanwhile]),
    );
    let client = through(&proxy, &direct).await;
    let text = "BEGIN; INSERT INTO notes VALUES ('meanwhile')";
    client.batch_execute(text).await.unwrap();
    assert!(client.batch_execute("COMMIT").await.is_err());
    wait_until_async("it is there", || async {
        notes(&direct).await == "meanwhile"
    })
    .await;
}

#[tokio::test]
async fn what_a_black_hole_took_comes_out_when_it_ends() {
    let (_database, proxy, direct) = scene().await;
    let client = through(&proxy, &direct).await;
    proxy.set_hole(true);
    let note = tokio::spawn(async move {
        let text = "INSERT INTO notes VALUES ('from the hole')";
        client.batch_execute(text).await
    });
    assert_eq!(notes(&direct).await, "");
    proxy.set_hole(false);
    note.await.unwrap().unwrap();
    assert_eq!(notes(&direct).await, "from the hole");
}

#[tokio::test]
async fn one_connection_is_held_and_the_others_are_not() {
    let (_database, proxy, direct) = scene().await;
    proxy.rule(Rule::on("'held'").fates(&[Fate::Held]));
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
async fn a_statement_arrives_with_another_text() {
    let (_database, proxy, direct) = scene().await;
    proxy.rewrite("'a'", "'b'");
    let client = through(&proxy, &direct).await;
    client
        .execute("INSERT INTO notes VALUES ('a')", &[])
        .await
        .unwrap();
    assert_eq!(notes(&direct).await, "b");
}
