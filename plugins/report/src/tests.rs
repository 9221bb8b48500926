//! Tests with a fake database: generated orders and a map of lines.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pgtq_sdk::prelude::*;
use pgtq_sdk::sql::Rows;
use pgtq_sdk::{TestCtx, Verdict};

use super::*;

type Lines = Rc<RefCell<BTreeMap<String, (i64, i64, i64)>>>;

/// A database with orders 1 to `count` of three products. The amount in cents is the id.
fn shop(count: i64) -> (TestCtx, Lines) {
    let lines = Lines::default();
    let (added, read) = (Rc::clone(&lines), Rc::clone(&lines));
    let ctx = Ctx::test()
        .on_sql("SELECT count(*) FROM orders", move |_| {
            Ok(Rows::of(["count"], [(count,)]))
        })
        .on_sql("FROM orders WHERE id > $1", move |statement| {
            let last = statement.params[0].as_i64().expect("a number").max(0);
            let limit = statement.params[3].as_i64().expect("a number");
            let ids = last + 1..=count.min(last + limit);
            let row = |id| (id, ["tea", "cups, blue", "=1+1"][id as usize % 3], 2, id);
            Ok(Rows::of(
                ["id", "product", "quantity", "cents"],
                ids.map(row).collect::<Vec<_>>(),
            ))
        })
        .on_sql("INSERT INTO report_lines", move |statement| {
            let page: Vec<Line> =
                pgtq_sdk::serde_json::from_value(statement.params[1].clone()).expect("lines");
            for line in page {
                let mut lines = added.borrow_mut();
                let sum = lines.entry(line.product).or_default();
                sum.0 += line.orders;
                sum.1 += line.quantity;
                sum.2 += line.cents;
            }
            Ok(Rows::affected_only(3))
        })
        .on_sql("FROM report_lines", move |_| {
            let lines = read.borrow();
            let rows = lines
                .iter()
                .map(|(product, sum)| (product, sum.0, sum.1, sum.2));
            Ok(Rows::of(
                ["product", "orders", "quantity", "cents"],
                rows.collect::<Vec<_>>(),
            ))
        });
    (ctx, lines)
}

#[test]
fn all_orders_are_counted_in_pages() {
    let (ctx, _) = shop(1_234);
    let report = ctx.run("order_report", json!({})).expect("a report");
    let total = json!({"product": "", "orders": 1_234, "quantity": 2_468, "cents": 761_995});
    assert_eq!((&report["total"], &report["lines"]), (&total, &json!(3)));
    let text = report["text"].as_str().expect("a text");
    let head = "product,orders,quantity,amount\r\n'=1+1,411,822,2535.87\r\n\"cups, blue\",412,";
    assert!(text.starts_with(head), "{text}");
    let progress = ctx.progress_reports();
    assert_eq!(progress.len(), 3);
    assert_eq!(progress[2], (1.0, "1234 of 1234 orders".to_owned()));
}

#[test]
fn a_retry_continues_after_the_checkpoint() {
    let (ctx, lines) = shop(1_100);
    let ctx = ctx.state(json!({"last": 1_000, "orders": 1_000, "of": 1_100}));
    let report = ctx
        .run("order_report", json!({"format": "html"}))
        .expect("a report");
    assert_eq!(report["total"]["orders"], 100);
    assert_eq!(lines.borrow()["tea"].0, 33, "only orders after 1000");
    let pages = ctx.statements();
    assert_eq!(pages[0].params[0], json!(1_000), "{pages:?}");
    let html = report["text"].as_str().expect("a text");
    assert!(html.contains("<tr><td>=1+1</td><td>34</td>"), "{html}");
}

#[test]
fn an_error_keeps_the_previous_pages() {
    let (ctx, _) = shop(5_000);
    let times = RefCell::new(0);
    let broken = Ctx::test()
        .on_sql("count(*)", |_| Ok(Rows::of(["count"], [(1_000,)])))
        .on_sql("FROM orders WHERE id > $1", |_| {
            Ok(Rows::of(
                ["id", "product", "quantity", "cents"],
                [(7, "tea", 1, 1)],
            ))
        })
        .on_sql("INSERT INTO report_lines", move |_| {
            *times.borrow_mut() += 1;
            match *times.borrow() {
                1 => Ok(Rows::affected_only(1)),
                _ => Err(retry!("deadlock detected").code("sql:40P01")),
            }
        });
    let error = broken
        .run("order_report", json!({}))
        .expect_err("a deadlock");
    assert_eq!(
        (error.verdict(), error.code_text()),
        (Verdict::Retry, "sql:40P01")
    );
    assert_eq!(
        broken.saved(),
        Some(Place {
            last: 7,
            orders: 1,
            of: 1_000
        })
    );
    drop(ctx);
}

#[test]
fn a_cancelled_report_stops_between_pages() {
    let (ctx, _) = shop(1_000);
    let error = ctx
        .cancelled(true)
        .run("order_report", json!({}))
        .expect_err("cancelled");
    assert_eq!(
        (error.verdict(), error.message()),
        (Verdict::Cancel, "stopped after 0 orders")
    );
}

#[test]
fn without_orders_the_report_is_empty() {
    let (ctx, _) = shop(0);
    let report = ctx.run("order_report", json!({})).expect("a report");
    assert_eq!(report["text"], "product,orders,quantity,amount\r\n");
    assert_eq!(report["total"]["orders"], 0);
}

#[test]
fn invalid_input_is_a_final_error() {
    for file in ["../passwd", "a/b.csv", "", ".hidden", "a\0b"] {
        let (ctx, _) = shop(1);
        let error = ctx
            .run("order_report", json!({"file": file}))
            .expect_err(file);
        assert_eq!(
            (error.verdict(), error.code_text()),
            (Verdict::Fail, "file"),
            "{file}"
        );
        assert!(ctx.statements().is_empty());
    }
    let (ctx, _) = shop(1);
    let error = ctx
        .run("order_report", json!({"format": "pdf"}))
        .expect_err("unknown");
    assert_eq!(error.code_text(), "arguments");
    let invalid = Ctx::test().on_sql("count(*)", |_| {
        Err(retry!("invalid input syntax for type date: \"soon\"").code("sql:22007"))
    });
    let error = invalid
        .run("order_report", json!({"from": "soon"}))
        .expect_err("not a date");
    assert_eq!(error.verdict(), Verdict::Fail);
}

#[test]
fn a_report_file_is_written_atomically() {
    let dir = std::env::temp_dir().join(format!("pgtq-report-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (ctx, lines) = shop(1);
    lines.borrow_mut().insert("a<b & c".to_owned(), (1, 1, -5));
    let report = finish(&ctx, Format::Html, Some("r.html".to_owned()), &dir).expect("a report");
    assert_eq!(
        (report.text, report.file.as_deref()),
        (None, Some("r.html"))
    );
    let text = std::fs::read_to_string(dir.join("r.html")).expect("the file");
    assert!(
        text.contains("<td>a&lt;b &amp; c</td><td>1</td><td>1</td><td>-0.05</td>"),
        "{text}"
    );
    let files = std::fs::read_dir(&dir).expect("the directory").count();
    std::fs::remove_dir_all(&dir).expect("the directory exists");
    assert_eq!(files, 1, "no temporary file is left");

    let error = output::save(&dir, "r.html", "").expect_err("the directory is gone");
    assert_eq!(
        (error.verdict(), error.code_text()),
        (Verdict::Retry, "file")
    );
}

#[test]
fn a_report_too_long_for_a_result_needs_a_file() {
    let (ctx, lines) = shop(0);
    for number in 0..3_000 {
        lines
            .borrow_mut()
            .insert(format!("{number:0200}"), (1, 1, 1));
    }
    let error = ctx.run("order_report", json!({})).expect_err("too long");
    assert!(error.message().ends_with("set `file`"), "{error}");
}
