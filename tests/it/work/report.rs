//! The report with real tables, and with a killed runner.

use std::fs;

use serde_json::Value;

use super::{outcome, result, runner};
use crate::fixture::Fixture;

/// The number of orders, of twenty products: ten pages.
const N_ORDERS: u64 = 5_000;

/// The differences between the report's lines and the sums of all orders, and the number
/// of lines.
const DIFFERENCES: &str = "WITH wanted AS (
        SELECT product, count(*), sum(quantity)::bigint, sum(cents)::bigint FROM orders GROUP BY 1
    ), found AS (SELECT product, orders, quantity, cents FROM report_lines)
    SELECT (SELECT count(*) FROM (TABLE wanted EXCEPT TABLE found) AS a)
         + (SELECT count(*) FROM (TABLE found EXCEPT TABLE wanted) AS b),
        (SELECT count(*) FROM found)";

/// Creates the tables of the plugin's documentation, with data, and a role. Returns the
/// grants. Roles belong to the whole server, so each test has its own.
async fn shop(fixture: &Fixture, role: &str) -> String {
    let documented = fs::read_to_string(pgtq_tests::repository().join("plugins/report/src/lib.rs"));
    let documented = documented.expect("the plugin is there");
    let sql = documented.split("//! ```sql\n").nth(1).expect("it has SQL");
    let sql = sql.split("//! ```").next().unwrap_or(sql);
    let sql = sql.replace("//!", "").replace("reports", role);
    fixture.sql(&sql).await;
    fixture
        .sql(&format!(
            "INSERT INTO orders SELECT n, date '2026-01-01' + n % 10, 'product ' || n % 20, n % 7, n
             FROM generate_series(1, {N_ORDERS}) AS n"
        ))
        .await;
    format!("[grants.report]\nsql = {{ role = '{role}', statement_timeout = '60s' }}\n")
}

#[tokio::test]
async fn a_report_sums_up_thousands_of_orders_and_writes_a_file() {
    let fixture = Fixture::with(&["report"]).await;
    let grants = shop(&fixture, "reports_of_a_file").await;
    let dir = tempfile::tempdir().expect("a temporary directory is created");
    let grants = format!(
        "{grants}files.'/reports' = {{ dir = '{}', write = true }}\n",
        dir.path().display()
    );
    let _runner = runner(&fixture, &grants, &[]);
    let report = result(&fixture, &["order_report", "file=orders.csv"]);
    assert_eq!(report["total"]["orders"], N_ORDERS);
    assert_eq!(report["total"]["cents"], N_ORDERS * (N_ORDERS + 1) / 2);
    assert_eq!(fixture.sql(DIFFERENCES).await, "0|20");
    let file = fs::read_to_string(dir.path().join("orders.csv")).expect("the file is there");
    assert_eq!(file.lines().count(), 21, "{file}");
    let line = file
        .lines()
        .find(|line| line.starts_with("product 19,250,"));
    assert!(
        line.is_some_and(|line| line.ends_with(",6272.50")),
        "{file}"
    );
    let left = fs::read_dir(dir.path()).expect("it is there").count();
    assert_eq!(left, 1);

    // One of ten days, as text.
    let day = ["from=2026-01-04", "to=2026-01-04", "format=html"];
    let report = result(&fixture, &[&["order_report"], &day[..]].concat());
    assert_eq!(report["total"]["orders"], N_ORDERS / 10);
    let text = report["text"].as_str().expect("a text");
    assert!(
        text.contains("<tr><td>product 13</td><td>250</td>"),
        "{text}"
    );
}

#[tokio::test]
async fn a_report_continues_after_its_runner_is_killed_and_counts_nothing_twice() {
    let fixture = Fixture::with(&["report"]).await;
    let grants = shop(&fixture, "reports_of_a_kill").await;
    // The page after 3,000 orders waits for a lock of this test: it is written and not
    // committed when the runner is killed.
    fixture
        .sql(
            "CREATE FUNCTION public.wait_at_3000() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.orders > 150 THEN PERFORM pg_advisory_xact_lock(7); END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER wait_at_3000 AFTER UPDATE ON report_lines
                 FOR EACH ROW EXECUTE FUNCTION public.wait_at_3000();
             SELECT pg_advisory_lock(7)",
        )
        .await;
    let mut victim = runner(&fixture, &grants, &[]);
    let id = fixture.push(&["order_report"]);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    fixture.wait_sql(waiting, "1").await;
    victim.kill();
    let counted = "SELECT sum(orders) FROM report_lines";
    assert_eq!(
        fixture.sql(counted).await,
        "3000",
        "six pages are committed"
    );
    fixture.sql("SELECT pg_advisory_unlock(7)").await;
    // Ends the lease at once, so that the test does not wait for it.
    fixture
        .sql("UPDATE pgtq.runners SET expires_at = now() - interval '1 second'")
        .await;

    let _second = runner(&fixture, &grants, &[]);
    fixture.wait_all().await;
    assert_eq!(outcome(&fixture, &id).await, "complete|1|-");
    assert_eq!(fixture.sql(DIFFERENCES).await, "0|20");
    let query = format!("SELECT result FROM pgtq.tasks WHERE id = {id}");
    let report: Value = serde_json::from_str(&fixture.sql(&query).await).expect("JSON");
    assert_eq!(report["total"]["orders"], N_ORDERS);
    let logs = fixture.pgtq(&["logs", &id]).success();
    assert!(logs.contains("continuing after order 3000"), "{logs}");
}
