//! Deploy and rollback, on real directories and real components.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::component::component;
use crate::plugin::install::{
    InstallAs, InstallError, Installed, KEEP, install, install_name, rollback, versions,
};
use pgtq_task::Digest;

/// A plugin directory and a place to build in.
struct Deployments {
    root: TempDir,
}

impl Deployments {
    fn new() -> Deployments {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(root.path().join("plugins")).expect("a directory");
        fs::create_dir(root.path().join("build")).expect("a directory");
        Deployments { root }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    fn build(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root.path().join("build").join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn deploy(&self, name: &str, bytes: &[u8]) -> Result<Installed, InstallError> {
        self.deploy_as(name, bytes, InstallAs::default())
    }

    fn deploy_as(
        &self,
        name: &str,
        bytes: &[u8],
        under: InstallAs<'_>,
    ) -> Result<Installed, InstallError> {
        install(&self.dir(), &self.build(name, bytes), under, |_| Ok(()))
    }

    /// Deploys versions 1 to `n` of `a.wasm`, each with the handler `x`.
    fn deploy_many(&self, n: u32) -> Vec<Digest> {
        let deploy = |version| {
            let done = self.deploy("a.wasm", &component(version, &["x"]));
            done.expect("installed").digest
        };
        (1..=n).map(deploy).collect()
    }

    fn installed(&self, name: &str) -> Digest {
        Digest::of(&fs::read(self.dir().join(name)).expect("a file"))
    }

    fn kept(&self) -> Vec<Digest> {
        let kept = versions(&self.dir()).expect("a list");
        let others = kept.iter().filter(|version| !version.current);
        others.map(|version| version.digest).collect()
    }

    /// The names in the plugin directory, including hidden ones.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|e| name(e.expect("an entry"))).collect();
        names.sort();
        names
    }
}

#[test]
fn a_deployed_file_is_readable_by_all_and_leaves_nothing_beside_it() {
    let here = Deployments::new();
    let bytes = component(1, &["x"]);
    let done = here.deploy("a.wasm", &bytes).expect("installed");
    assert_eq!(done.digest, Digest::of(&bytes));
    assert_eq!(done.replaced, None);
    assert_eq!(done.file, here.dir().join("a.wasm"));
    assert_eq!(here.names(), ["a.wasm"]);
    let mode = fs::metadata(done.file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn replaced_versions_are_kept_up_to_a_limit() {
    let here = Deployments::new();
    let digests = here.deploy_many(KEEP as u32 + 3);
    assert_eq!(here.installed("a.wasm"), digests[KEEP + 2]);
    let newest_first: Vec<Digest> = digests[2..KEEP + 2].iter().rev().copied().collect();
    assert_eq!(here.kept(), newest_first);
}

#[test]
fn the_same_file_again_changes_nothing() {
    let here = Deployments::new();
    let digest = here.deploy_many(2)[1];
    let before = fs::metadata(here.dir().join("a.wasm")).expect("a file");
    let again = here.deploy("a.wasm", &component(2, &["x"]));
    assert_eq!(again.expect("nothing to do").replaced, Some(digest));
    let after = fs::metadata(here.dir().join("a.wasm")).expect("a file");
    assert_eq!(
        before.modified().expect("a time"),
        after.modified().expect("a time")
    );
    assert_eq!(here.kept().len(), 1);
}

#[test]
fn a_rollback_puts_the_previous_version_back_and_a_second_one_undoes_it() {
    let here = Deployments::new();
    let digests = here.deploy_many(3);
    for (what, expected) in [("a.wasm", 1), ("a", 2), ("x", 1), ("a.wasm", 2)] {
        let done = rollback(&here.dir(), what, None).expect("rolled back");
        assert_eq!(done.digest, digests[expected], "by {what}");
        assert_eq!(here.installed("a.wasm"), digests[expected]);
    }
    let mut kept = here.kept();
    kept.sort();
    let mut others = digests[..2].to_vec();
    others.sort();
    assert_eq!(kept, others);
}

#[test]
fn a_rollback_can_choose_its_version() {
    let here = Deployments::new();
    let digests = here.deploy_many(4);
    let done = rollback(&here.dir(), "a", Some(digests[0])).expect("rolled back");
    assert_eq!(done.replaced, Some(digests[3]));
    assert_eq!(here.installed("a.wasm"), digests[0]);
    let same = rollback(&here.dir(), "a", Some(digests[0])).expect("nothing to do");
    assert_eq!(same.replaced, Some(digests[0]));
    let error = rollback(&here.dir(), "a", Some(Digest([7; 32]))).expect_err("unknown");
    assert!(matches!(error, InstallError::NoSuchVersion { .. }));
}

#[test]
fn a_deleted_plugin_can_be_put_back() {
    let here = Deployments::new();
    let digests = here.deploy_many(2);
    fs::remove_file(here.dir().join("a.wasm")).expect("removed");
    let done = rollback(&here.dir(), "a", None).expect("rolled back");
    assert_eq!((done.digest, done.replaced), (digests[0], None));
}

#[test]
fn a_rollback_without_another_version_is_rejected() {
    let here = Deployments::new();
    here.deploy_many(1);
    let error = rollback(&here.dir(), "a", None).expect_err("only one version");
    assert!(matches!(error, InstallError::NoSuchVersion { .. }));
    assert!(
        error
            .to_string()
            .starts_with("no other version of a.wasm is kept")
    );
    for wanted in ["nobody", "../build/a.wasm", "", ".previous"] {
        let error = rollback(&here.dir(), wanted, None).expect_err("unknown");
        let text = error.to_string();
        assert!(matches!(error, InstallError::Unknown { .. }), "{text}");
        assert!(text.ends_with("there are: a.wasm"), "{text}");
    }
}

#[test]
fn a_damaged_kept_version_is_not_put_back() {
    let here = Deployments::new();
    let digests = here.deploy_many(2);
    let kept = versions(&here.dir()).expect("a list").remove(0);
    fs::write(&kept.path, "junk").expect("a file");
    let error = rollback(&here.dir(), "a", None).expect_err("damaged");
    assert!(matches!(error, InstallError::Damaged { .. }));
    assert_eq!(here.installed("a.wasm"), digests[1]);
}

#[test]
fn a_bad_file_and_a_failed_check_install_nothing() {
    let here = Deployments::new();
    let digest = here.deploy_many(1)[0];
    let error = here.deploy("a.wasm", b"junk").expect_err("refused");
    assert!(matches!(error, InstallError::Refused { .. }), "{error}");
    let good = here.build("a.wasm", &component(2, &["x"]));
    let error = install(&here.dir(), &good, InstallAs::default(), |_| {
        Err("no".into())
    })
    .expect_err("refused");
    assert!(error.to_string().ends_with("a.wasm was rejected: no"));
    let error = install(
        &here.dir(),
        Path::new("/nowhere.wasm"),
        InstallAs::default(),
        |_| Ok(()),
    );
    let error = error.expect_err("gone");
    assert!(matches!(error, InstallError::Source { .. }));
    assert_eq!(here.installed("a.wasm"), digest);
    assert_eq!(here.names(), ["a.wasm"]);
}

#[test]
fn a_file_with_another_name_replaces_the_plugin_it_updates() {
    let here = Deployments::new();
    let old = here.deploy_many(1)[0];
    let done = here.deploy("a-v2.wasm", &component(2, &["x", "y"]));
    let done = done.expect("installed");
    assert_eq!(done.file, here.dir().join("a.wasm"));
    assert_eq!(done.replaced, Some(old));
    assert_eq!(here.names(), [".previous", "a.wasm"]);
}

/// What `[grants.billing]` grants.
fn billing(plugin: &str) -> Vec<String> {
    match plugin {
        "billing" => vec![
            "sql: role billing".into(),
            "secrets.stripe: may be read".into(),
        ],
        _ => Vec::new(),
    }
}

#[test]
fn a_file_with_another_name_gets_no_grants_by_default() {
    let here = Deployments::new();
    let granted = InstallAs {
        name: None,
        grants: Some(&billing),
    };
    let old = here.deploy_as("billing.wasm", &component(1, &["x"]), granted);
    let old = old.expect("its own name").digest;
    let stranger = component(2, &["x", "y"]);
    let refused = here.deploy_as("third_party.wasm", &stranger, granted);
    let build = here.root.path().join("build");
    let refused = refused.expect_err("refused").to_string();
    insta::assert_snapshot!(refused.replace(&build.display().to_string(), "build"));
    let handlers = ["x", "y"].map(|name| name.parse().expect("a name")).into();
    let source = build.join("third_party.wasm");
    let dry = install_name(&here.dir(), &source, &handlers, granted);
    assert!(
        matches!(dry, Err(InstallError::InheritsGrants { .. })),
        "{dry:?}"
    );
    assert_eq!(here.installed("billing.wasm"), old);
    assert_eq!(here.names(), ["billing.wasm"]);

    // The name given by the operator, with or without the extension.
    for (version, name) in [(2, "billing"), (3, "billing.wasm")] {
        let told = InstallAs {
            name: Some(name),
            ..granted
        };
        let bytes = component(version, &["x", "y"]);
        let done = here
            .deploy_as("third_party.wasm", &bytes, told)
            .expect("told");
        assert_eq!(done.file, here.dir().join("billing.wasm"));
    }
    // A name without grants is still taken over.
    here.deploy_as("plain.wasm", &component(1, &["z"]), granted)
        .expect("installed");
    let done = here.deploy_as("plain-v2.wasm", &component(2, &["z"]), granted);
    assert_eq!(done.expect("installed").file, here.dir().join("plain.wasm"));
}

#[test]
fn a_file_is_installed_under_the_given_name() {
    let here = Deployments::new();
    let under = |name| InstallAs {
        name: Some(name),
        grants: Some(&billing),
    };
    let done = here.deploy_as("a.wasm", &component(1, &["x"]), under("b"));
    assert_eq!(done.expect("installed").file, here.dir().join("b.wasm"));
    assert_eq!(here.names(), ["b.wasm"]);
    // Never beside the plugin whose handlers it has.
    let error = here.deploy_as("a.wasm", &component(2, &["x"]), under("billing"));
    assert!(
        matches!(error, Err(InstallError::Clash { .. })),
        "{error:?}"
    );
    for name in ["", "../c", ".hidden", "a/b", "c\n"] {
        let error = here.deploy_as("a.wasm", &component(3, &["c"]), under(name));
        assert!(
            matches!(error, Err(InstallError::BadName { .. })),
            "{name}: {error:?}"
        );
    }
    assert_eq!(here.names(), ["b.wasm"]);
}

#[test]
fn a_rollback_restores_only_versions_of_that_name() {
    let here = Deployments::new();
    here.deploy("a.wasm", &component(1, &["x"]))
        .expect("installed");
    here.deploy("a.wasm", &component(2, &["x"]))
        .expect("installed");
    let kept = versions(&here.dir()).expect("a list")[0].digest;
    here.deploy("billing.wasm", &component(1, &["y"]))
        .expect("installed");
    // Neither the last version nor a given digest comes from another name.
    for to in [None, Some(kept)] {
        let error = rollback(&here.dir(), "billing", to);
        assert!(
            matches!(error, Err(InstallError::NoSuchVersion { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_deployment_never_takes_one_handler_from_another_plugin() {
    let here = Deployments::new();
    here.deploy("a.wasm", &component(1, &["x", "y"]))
        .expect("installed");
    let error = here
        .deploy("b.wasm", &component(1, &["x"]))
        .expect_err("it clashes");
    let text = error.to_string();
    assert!(text.contains("handler `x` is already in a.wasm"), "{text}");
    here.deploy("b.wasm", &component(1, &["z"]))
        .expect("installed");
    let error = here
        .deploy("b.wasm", &component(2, &["y", "z"]))
        .expect_err("it clashes");
    assert!(matches!(error, InstallError::Clash { .. }));
    assert_eq!(here.names(), ["a.wasm", "b.wasm"]);
}

#[test]
fn a_link_is_replaced_and_its_target_left_alone() {
    let here = Deployments::new();
    let target = here.build("target.wasm", &component(1, &["x"]));
    symlink(&target, here.dir().join("a.wasm")).expect("a link");
    here.deploy("a.wasm", &component(2, &["x"]))
        .expect("installed");
    let bytes = fs::read(target).expect("a file");
    assert_eq!(bytes, component(1, &["x"]));
    let meta = fs::symlink_metadata(here.dir().join("a.wasm")).expect("a file");
    assert!(meta.is_file());
}

#[test]
fn a_name_that_no_runner_loads_is_rejected() {
    let here = Deployments::new();
    for name in ["a.txt", ".hidden.wasm", "a.wasm.tmp"] {
        let error = here
            .deploy(name, &component(1, &["x"]))
            .expect_err("refused");
        assert!(matches!(error, InstallError::BadName { .. }), "{error}");
    }
}

/// Both fail for root too, which may write anywhere.
#[test]
fn a_path_that_is_not_a_directory_is_named() {
    let here = Deployments::new();
    let source = here.build("a.wasm", &component(1, &["x"]));
    for wrong in [here.root.path().join("nowhere"), source.clone()] {
        let error = install(&wrong, &source, InstallAs::default(), |_| Ok(()));
        let error = error.expect_err("no directory");
        let text = error.to_string();
        let start = format!("write to {}: ", wrong.display());
        assert!(text.starts_with(&start), "{text}");
    }
}

/// A mode does not stop root, so as root the test shows nothing; the classification of
/// system errors has its own test.
#[test]
fn a_read_only_directory_stays_as_it_is() {
    let here = Deployments::new();
    let digest = here.deploy_many(1)[0];
    let dir = here.dir();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).expect("a mode");
    if fs::write(dir.join("probe"), "").is_ok() {
        return;
    }
    let error = here.deploy("a.wasm", &component(2, &["x"]));
    let error = error.expect_err("read-only");
    assert!(matches!(error, InstallError::NotWritable { .. }), "{error}");
    assert_eq!(here.names(), ["a.wasm"]);
    assert_eq!(here.installed("a.wasm"), digest);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("a mode");
}
