//! PgBouncer that requires TLS.

use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Name, NewTask};
use pgtq_tests::{Authority, Finished, Identity, Pooler, cli};
use tokio::runtime::Runtime;

use super::{Fixture, plain};
use crate::native::{Engine, book, leaf, n_rows, registry};
use crate::tasks::{assert_completed_once, wait_for_finished};

pub(super) struct TlsFixture {
    pub(super) fixture: Fixture,
    pub(super) authority: Authority,
}

impl TlsFixture {
    /// A pooler named `localhost`, with a certificate signed by a test authority.
    pub(super) fn new() -> Option<Self> {
        let authority = Authority::new("the tests' authority");
        let identity = authority.identity(&["localhost"]);
        Self::with(authority, &identity)
    }

    fn with(authority: Authority, identity: &Identity) -> Option<Self> {
        let fixture = Fixture::with(|dir, users| Pooler::start_with_tls(identity, dir, users, 4))?;
        Some(TlsFixture { fixture, authority })
    }

    fn url(&self, host: &str, parameters: &str) -> String {
        let database = self.fixture.sql.row("SELECT current_database()");
        self.fixture.pooler.url_at(host, &database, parameters)
    }

    pub(super) fn url_knowing(&self, authority: &Authority, host: &str, mode: &str) -> String {
        let file = authority.file();
        let parameters = format!("sslmode={mode}&sslrootcert={}", file.display());
        self.url(host, &parameters)
    }
}

/// The error of a rejected verb, without values of this run.
fn error_of(fixture: &TlsFixture, url: &str) -> String {
    let Finished { code, stderr, .. } = cli(url, &["tasks"], "");
    let code = code.expect("no signal ended it");
    let database = fixture.fixture.sql.row("SELECT current_database()");
    let error = stderr
        .replace(
            &format!(":{}/{database}", fixture.fixture.pooler.port()),
            ":PORT/DATABASE",
        )
        .replace(&*fixture.authority.file().to_string_lossy(), "FILE");
    format!("status {code}\n{error}")
}

#[test]
fn each_sslmode_with_tls_works_with_a_pooler_that_requires_tls() {
    let Some(fixture) = TlsFixture::new() else {
        return;
    };
    let runtime = Runtime::new().expect("a runtime starts");
    let urls = [
        // The server is not verified.
        fixture.url("127.0.0.1", "sslmode=require"),
        fixture.url_knowing(&fixture.authority, "127.0.0.1", "verify-ca"),
        fixture.url_knowing(&fixture.authority, "localhost", "verify-full"),
    ];
    let tasks: Vec<NewTask> = ["plain", "book"]
        .iter()
        .flat_map(|name| vec![NewTask::new(Name::new(name).expect("a name"), "{}"); 20])
        .collect();
    let sql = &fixture.fixture.sql;
    for (n_before, url) in urls.iter().enumerate() {
        let handlers = registry(
            &fixture.fixture.role,
            &[("plain", plain), ("book", book), ("leaf", leaf)],
        );
        let engine = runtime.block_on(Engine::start(url, handlers));
        runtime.block_on(async {
            let config = DatabaseConfig::parse(url).expect("a valid URL");
            let store = Store::connect(config).await.expect("connect");
            assert!(store.config().poll_only, "it is taken for a pooler");
            store.push(&tasks).await.expect("push");
        });
        // Each `book` pushes a child.
        wait_for_finished(sql, (n_before + 1) * 60);
        runtime.block_on(engine.stop());
    }
    assert_completed_once(sql, 180);
    assert_eq!(n_rows(sql), "120|120", "rows, tasks");
    let failures = sql.row("SELECT count(*) FROM pgtq.attempts");
    assert_eq!(failures, "0", "no attempt failed on the way");
}

#[test]
fn a_pooler_with_a_wrong_name_or_authority_is_rejected_with_a_clear_error() {
    let Some(fixture) = TlsFixture::new() else {
        return;
    };
    let other_authority = Authority::new("another authority");
    let other_name = fixture.url_knowing(&fixture.authority, "127.0.0.1", "verify-full");
    insta::assert_snapshot!("other_name", error_of(&fixture, &other_name));
    for mode in ["verify-ca", "verify-full"] {
        let untrusted = fixture.url_knowing(&other_authority, "localhost", mode);
        let error = error_of(&fixture, &untrusted)
            .replace(&*other_authority.file().to_string_lossy(), "FILE");
        insta::assert_snapshot!("untrusted", error);
    }
    let plain = fixture.url("localhost", "sslmode=disable");
    insta::assert_snapshot!("no_tls_asked_for", error_of(&fixture, &plain));
}

#[test]
fn a_listed_self_signed_pooler_certificate_is_accepted() {
    let authority = Authority::new("localhost");
    let identity = authority.self_signed();
    let Some(fixture) = TlsFixture::with(authority, &identity) else {
        return;
    };
    let url = fixture.url_knowing(&fixture.authority, "localhost", "verify-full");
    cli(&url, &["tasks"], "").success();
    let other_name = fixture.url_knowing(&fixture.authority, "127.0.0.1", "verify-full");
    insta::assert_snapshot!("other_name", error_of(&fixture, &other_name));
    let url = fixture.url_knowing(&fixture.authority, "127.0.0.1", "verify-ca");
    cli(&url, &["tasks"], "").success();
    let twin = Authority::new("localhost");
    let untrusted = fixture.url_knowing(&twin, "localhost", "verify-ca");
    let error = error_of(&fixture, &untrusted).replace(&*twin.file().to_string_lossy(), "FILE");
    insta::assert_snapshot!("untrusted", error);
}
