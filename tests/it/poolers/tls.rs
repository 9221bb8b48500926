//! Through a PgBouncer that takes no client without TLS.

use pgtq_store::{DatabaseConfig, Store};
use pgtq_task::{Name, NewTask};
use pgtq_tests::{Authority, Finished, Identity, Pooler, cli};
use tokio::runtime::Runtime;

use super::{Scene, plain};
use crate::native::{Engine, book, leaf, n_rows, registry};
use crate::tasks::{assert_completed_once, wait_for_ended};

pub(super) struct TlsScene {
    pub(super) scene: Scene,
    pub(super) authority: Authority,
}

impl TlsScene {
    /// The pooler is `localhost`, signed by an authority of the test's own.
    pub(super) fn new() -> Option<Self> {
        let authority = Authority::new("the tests' authority");
        let identity = authority.identity(&["localhost"]);
        Self::with(authority, &identity)
    }

    fn with(authority: Authority, identity: &Identity) -> Option<Self> {
        let scene = Scene::with(|dir, users| Pooler::start_with_tls(identity, dir, users, 4))?;
        Some(TlsScene { scene, authority })
    }

    fn url(&self, host: &str, parameters: &str) -> String {
        let database = self.scene.sql.row("SELECT current_database()");
        self.scene.pooler.url_at(host, &database, parameters)
    }

    pub(super) fn url_knowing(&self, authority: &Authority, host: &str, mode: &str) -> String {
        let file = authority.file();
        let parameters = format!("sslmode={mode}&sslrootcert={}", file.display());
        self.url(host, &parameters)
    }
}

/// What a refused verb says, with nothing of this run in it.
fn said(scene: &TlsScene, url: &str) -> String {
    let Finished { code, stderr, .. } = cli(url, &["tasks"], "");
    let code = code.expect("no signal ended it");
    let database = scene.scene.sql.row("SELECT current_database()");
    let said = stderr
        .replace(
            &format!(":{}/{database}", scene.scene.pooler.port()),
            ":PORT/DATABASE",
        )
        .replace(&*scene.authority.file().to_string_lossy(), "FILE");
    format!("status {code}\n{said}")
}

#[test]
fn all_work_goes_through_a_pooler_that_wants_tls_in_each_mode_that_asks_for_it() {
    let Some(scene) = TlsScene::new() else { return };
    let runtime = Runtime::new().expect("a runtime starts");
    let urls = [
        // Nobody is asked who the server is.
        scene.url("127.0.0.1", "sslmode=require"),
        scene.url_knowing(&scene.authority, "127.0.0.1", "verify-ca"),
        scene.url_knowing(&scene.authority, "localhost", "verify-full"),
    ];
    let tasks: Vec<NewTask> = ["plain", "book"]
        .iter()
        .flat_map(|name| vec![NewTask::new(Name::new(name).expect("a name"), "{}"); 20])
        .collect();
    let sql = &scene.scene.sql;
    for (n_before, url) in urls.iter().enumerate() {
        let handlers = registry(
            &scene.scene.role,
            &[("plain", plain), ("book", book), ("leaf", leaf)],
        );
        let engine = runtime.block_on(Engine::start(url, handlers));
        runtime.block_on(async {
            let config = DatabaseConfig::parse(url).expect("an address");
            let store = Store::connect(config).await.expect("connect");
            assert!(store.config().poll_only, "it is taken for a pooler");
            store.push(&tasks).await.expect("push");
        });
        // Each `book` pushes a child.
        wait_for_ended(sql, (n_before + 1) * 60);
        runtime.block_on(engine.stop());
    }
    assert_completed_once(sql, 180);
    assert_eq!(n_rows(sql), "120|120", "rows, tasks");
    let failures = sql.row("SELECT count(*) FROM pgtq.attempts");
    assert_eq!(failures, "0", "no attempt failed on the way");
}

#[test]
fn a_pooler_with_a_wrong_name_or_authority_is_rejected_with_a_clear_error() {
    let Some(scene) = TlsScene::new() else { return };
    let stranger = Authority::new("a stranger");
    let other_name = scene.url_knowing(&scene.authority, "127.0.0.1", "verify-full");
    insta::assert_snapshot!("other_name", said(&scene, &other_name));
    for mode in ["verify-ca", "verify-full"] {
        let untrusted = scene.url_knowing(&stranger, "localhost", mode);
        let said = said(&scene, &untrusted).replace(&*stranger.file().to_string_lossy(), "FILE");
        insta::assert_snapshot!("untrusted", said);
    }
    let plain = scene.url("localhost", "sslmode=disable");
    insta::assert_snapshot!("no_tls_asked_for", said(&scene, &plain));
}

#[test]
fn a_pooler_whose_certificate_signed_itself_is_taken_if_that_is_listed() {
    let authority = Authority::new("localhost");
    let identity = authority.itself();
    let Some(scene) = TlsScene::with(authority, &identity) else {
        return;
    };
    let url = scene.url_knowing(&scene.authority, "localhost", "verify-full");
    cli(&url, &["tasks"], "").success();
    let other_name = scene.url_knowing(&scene.authority, "127.0.0.1", "verify-full");
    insta::assert_snapshot!("other_name", said(&scene, &other_name));
    let url = scene.url_knowing(&scene.authority, "127.0.0.1", "verify-ca");
    cli(&url, &["tasks"], "").success();
    let twin = Authority::new("localhost");
    let untrusted = scene.url_knowing(&twin, "localhost", "verify-ca");
    let said = said(&scene, &untrusted).replace(&*twin.file().to_string_lossy(), "FILE");
    insta::assert_snapshot!("untrusted", said);
}
