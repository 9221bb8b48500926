//! Tests with fake servers: a scripted stream for SMTP, a fake for HTTP. The
//! repository's integration tests use a real server and a real runner.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use pgtq_sdk::prelude::*;
use pgtq_sdk::{Reply, Verdict};

use crate::smtp::Session;

/// A server with scripted replies, which records what it receives.
#[derive(Clone)]
struct Script {
    replies: Rc<RefCell<Vec<u8>>>,
    received: Rc<RefCell<Vec<u8>>>,
}

impl Script {
    fn new(replies: &str) -> Self {
        let mut replies = replies.replace('\n', "\r\n").into_bytes();
        replies.reverse();
        Script {
            replies: Rc::new(RefCell::new(replies)),
            received: Rc::default(),
        }
    }

    fn received(&self) -> String {
        String::from_utf8(self.received.borrow().clone()).expect("SMTP is ASCII here")
    }
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.replies.borrow_mut().pop() {
            Some(byte) => {
                into[0] = byte;
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.received.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const HELLO: &str = "220 ready\n250-mx.example\n250-SIZE 1000\n250 AUTH LOGIN PLAIN\n";

fn send(script: &Script) -> Result<String> {
    let mut session = Session::open(script.clone(), "example.com")?;
    let reply = session.send(
        "shop@example.com",
        "ada@example.com",
        "A: b\r\n\r\n.\r\n..c\r\n",
    )?;
    session.quit();
    Ok(reply)
}

#[test]
fn leading_dots_of_a_mail_are_doubled() {
    let script = Script::new(&format!(
        "{HELLO}250 ok\n250 ok\n354 go on\n250 2.0.0 queued as 4F2\n221 bye\n"
    ));
    assert_eq!(send(&script), Ok("2.0.0 queued as 4F2".to_owned()));
    let expected = "EHLO example.com\r\nMAIL FROM:<shop@example.com>\r\n\
        RCPT TO:<ada@example.com>\r\nDATA\r\nA: b\r\n\r\n..\r\n...c\r\n.\r\nQUIT\r\n";
    assert_eq!(script.received(), expected);
}

#[test]
fn temporary_rejections_are_retried_and_permanent_ones_are_final() {
    for (replies, verdict, code, message) in [
        (
            "450 4.7.1 greylisted\n",
            Verdict::Retry,
            "smtp:450",
            "MAIL FROM:<shop@example.com>: the server replied 450 4.7.1 greylisted",
        ),
        (
            "250 ok\n550-5.1.1 no\n550 such user\n",
            Verdict::Fail,
            "smtp:550",
            "RCPT TO:<ada@example.com>: the server replied 550 5.1.1 no such user",
        ),
        (
            "250 ok\n250 ok\n354 go\n554 5.7.1 spam\n",
            Verdict::Fail,
            "smtp:554",
            "the mail: the server replied 554 5.7.1 spam",
        ),
        (
            "250 ok\n",
            Verdict::Retry,
            "unavailable",
            "the server closed the connection",
        ),
        (
            "HTTP/1.1 400 Bad Request\n",
            Verdict::Retry,
            "smtp",
            "the server's reply is not SMTP: `HTTP/1.1 400 Bad Request`",
        ),
    ] {
        let error = send(&Script::new(&format!("{HELLO}{replies}"))).expect_err(replies);
        let found = (error.verdict(), error.code_text(), error.message());
        assert_eq!(found, (verdict, code, message));
    }
    let rejected = send(&Script::new("554 no service here\n")).expect_err("rejected");
    assert_eq!(
        rejected.verdict(),
        Verdict::Retry,
        "the greeting is not about the mail"
    );
}

#[test]
fn long_replies_are_rejected() {
    let lines = format!("220 ready\n{}", "250-more\n".repeat(1_000));
    let error = send(&Script::new(&lines)).expect_err("too many lines");
    assert_eq!(
        error.message(),
        "the server's reply has more than 100 lines"
    );
    let line = format!("220 {}\n", "x".repeat(100_000));
    let error = send(&Script::new(&line)).expect_err("too long a line");
    assert!(
        error
            .message()
            .starts_with("the server's reply is not SMTP"),
        "{error}"
    );
    assert!(error.message().len() < 300, "{error}");
}

#[test]
fn the_login_uses_auth_plain_and_errors_do_not_show_the_password() {
    let script = Script::new(&format!("{HELLO}235 welcome\n"));
    let mut session = Session::open(script.clone(), "example.com").expect("hello");
    assert_eq!(session.login("ada", "hunter2"), Ok(()));
    // "\0ada\0hunter2"
    assert!(
        script
            .received()
            .ends_with("AUTH PLAIN AGFkYQBodW50ZXIy\r\n")
    );

    let script = Script::new(&format!("{HELLO}535 5.7.8 no\n"));
    let mut session = Session::open(script, "example.com").expect("hello");
    let error = session.login("ada", "hunter2").expect_err("rejected");
    assert_eq!(
        error.message(),
        "the login of `ada`: the server replied 535 5.7.8 no"
    );
    assert_eq!(error.verdict(), Verdict::Retry, "the operator can fix it");

    let mut session = Session::open(Script::new("220 hi\n250 mx\n"), "x").expect("hello");
    let error = session.login("ada", "hunter2").expect_err("not offered");
    assert_eq!(error.code_text(), "smtp:auth");
}

#[test]
fn bad_input_fails_before_anything_is_sent() {
    for args in [
        json!({"to": "ada", "subject": "s", "text": "t"}),
        json!({"to": "a@x.io", "subject": "s\r\nBcc: b@x.io", "text": "t"}),
        json!({"to": "a@x.io", "subject": "s", "text": "t", "from": "x@y.z\r\nBcc: b@x.io"}),
    ] {
        let error = Ctx::test().run("send_mail", &args).expect_err("bad input");
        assert_eq!(error.verdict(), Verdict::Fail, "{args}");
    }
}

#[test]
fn an_unreachable_server_is_retried() {
    // A port without a listener.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let args = json!({"to": "a@x.io", "subject": "s", "text": "t", "server": server});
    let error = Ctx::test()
        .run("send_mail", args)
        .expect_err("connection refused");
    assert_eq!(
        (error.verdict(), error.code_text()),
        (Verdict::Retry, "unavailable")
    );
}

const API: &str = "https://api.mail.example/v3/send";

fn api(reply: Reply) -> (pgtq_sdk::TestCtx, Result<Value>) {
    let ctx = Ctx::test().on_http("POST", API, move |_| Ok(reply.clone()));
    let args = json!({"to": "Ada <ada@x.io>", "subject": "Größe", "text": "Hello"});
    let result = ctx.run("send_mail_api", args);
    (ctx, result)
}

#[test]
fn the_api_request_has_a_placeholder_for_the_key() {
    let (ctx, result) = api(Reply::json(json!({"id": "m_1"})).with_status(202));
    assert_eq!(result, Ok(json!({"status": 202, "id": "m_1"})));
    let request = &ctx.requests()[0];
    assert_eq!(
        request.header("authorization"),
        Some("Bearer {{secret:mail_api}}")
    );
    assert_eq!(request.header("idempotency-key"), Some("test-1"));
    let body: Value = request.json();
    assert_eq!(
        (&body["to"], &body["subject"]),
        (&json!(["Ada <ada@x.io>"]), &json!("Größe"))
    );

    let (_, silent) = api(Reply::status(204));
    assert_eq!(silent, Ok(json!({"status": 204})));
}

#[test]
fn temporary_api_errors_are_retried_and_others_are_final() {
    for (status, verdict) in [
        (302, Verdict::Fail),
        (400, Verdict::Fail),
        (401, Verdict::Retry),
        (422, Verdict::Fail),
        (429, Verdict::Retry),
        (500, Verdict::Retry),
    ] {
        let (_, result) = api(Reply::status(status));
        assert_eq!(result.expect_err("rejected").verdict(), verdict, "{status}");
    }
    let (_, busy) = api(Reply::status(503).header("retry-after", 90));
    assert_eq!(busy.expect_err("busy").delay(), Some(secs(90)));
}
