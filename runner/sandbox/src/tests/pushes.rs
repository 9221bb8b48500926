//! Which tasks a guest may push. Every case runs both ways: through the component, and in
//! its main module.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::direct::run;
use super::guests::{Parts, WORK, component, load, sandbox, small, source};
use crate::config::SandboxConfig;
use crate::direct::fallback::Fallbacks;
use crate::run::compiled::Compiled;
use pgtq_task::{Grant, GrantBook, Name, NewTask, Outcome, PushFacts, PushLook};

/// A plugin whose handler `work` pushes `child`, with its arguments as options.
struct Pushing {
    compiled: Compiled,
    grants: Arc<ArcSwap<GrantBook>>,
    facts: Arc<PushFacts>,
}

impl Pushing {
    async fn with(handlers: &[&str]) -> Self {
        let grants = Arc::<ArcSwap<GrantBook>>::default();
        let facts = Arc::new(PushFacts::new(10));
        let sandbox = sandbox(SandboxConfig {
            grants: Arc::clone(&grants),
            push_facts: Arc::clone(&facts),
            ..small()
        });
        let file = component(&source("push_once"), &Parts::with(handlers));
        Pushing {
            compiled: load(&sandbox, &file).await.expect("it is valid"),
            grants,
            facts,
        }
    }

    fn grant(&self, rules: &[&str]) {
        let grant = Grant {
            push: rules.iter().map(|r| r.parse().expect("a rule")).collect(),
            ..Grant::default()
        };
        let mut book = GrantBook::default();
        book.plugins.insert("guest".to_owned(), Arc::new(grant));
        self.grants.store(Arc::new(book));
    }

    /// The pushed task, or the guest's error; and the log lines.
    async fn push(&self, options: &str) -> (Result<NewTask, String>, Vec<String>) {
        let (whole, said) = run(&self.compiled, options, &Fallbacks::always()).await;
        let short = Fallbacks::default();
        let (direct, said_directly) = run(&self.compiled, options, &short).await;
        assert!(short.may_go_direct(), "{options} needed a fallback");
        assert_eq!(whole.outcome, direct.outcome, "{options}");
        assert_eq!(whole.record.children, direct.record.children, "{options}");
        assert_eq!(said, said_directly, "{options}");
        let pushed = match whole.outcome {
            Outcome::Complete { .. } => Ok(whole.record.children[0].clone()),
            Outcome::Fail { failure } => Err(failure.message),
            other => panic!("{options}: {other:?}"),
        };
        (pushed, said)
    }

    async fn pushed(&self, options: &str) -> NewTask {
        let (pushed, said) = self.push(options).await;
        pushed.unwrap_or_else(|error| panic!("{options}: {error} {said:?}"))
    }

    async fn denied(&self, options: &str) -> String {
        let (pushed, _) = self.push(options).await;
        let error = pushed.expect_err(options);
        assert!(error.starts_with("denied push child"), "{error}");
        error
    }
}

fn place(task: &NewTask) -> (&str, i32) {
    let queue = task.queue.as_ref().map_or("default", Name::as_str);
    (queue, task.priority)
}

const CHILD: &str = r#"{"name":"child"}"#;
const DECLARED: &str = r#"{"name":"child","push":{"queue":"mail","priority":10}}"#;
const URGENT: &str = r#"{"name":"child","push":{"priority":-5}}"#;
const ASKS: &str = r#"{"name":"work","needs":{"push":["child"]}}"#;

#[tokio::test]
async fn a_plugin_pushes_to_its_own_handlers_without_a_grant() {
    let own = Pushing::with(&[WORK, CHILD]).await;
    assert_eq!(place(&own.pushed("").await), ("default", 0));
    assert_eq!(
        place(&own.pushed(r#"{"priority":7}"#).await),
        ("default", 7)
    );
}

#[tokio::test]
async fn a_push_to_another_plugin_needs_a_need_and_a_grant() {
    let silent = Pushing::with(&[WORK]).await;
    let error = silent.denied("").await;
    assert!(
        error.contains("write #[handler(needs(push = \"child\"))]")
            && error.ends_with("[grants.guest]\npush = [\"child\"]"),
        "{error}"
    );
    silent.grant(&["child"]);
    let error = silent.denied("").await;
    assert!(
        error.contains("does not ask for it") && !error.contains("[grants"),
        "{error}"
    );

    let asks = Pushing::with(&[ASKS]).await;
    let (pushed, said) = asks.push("").await;
    let error = pushed.expect_err("it is not granted");
    assert!(!error.contains("does not ask"), "{error}");
    for line in ["[grants.guest]", "push = [\"child\"]"] {
        let found = said.iter().any(|said| said.contains(line));
        assert!(found, "{line} is missing in {said:?}");
    }
    for rule in ["chil", "child.*", "children", "other"] {
        asks.grant(&[rule]);
        let error = asks.denied("").await;
        // The lines keep existing grants.
        let line = format!("push = [\"{rule}\", \"child\"]");
        assert!(error.ends_with(&line), "{error}");
    }
    for rule in ["child", "chi*", "*"] {
        asks.grant(&["other", rule]);
        assert_eq!(place(&asks.pushed("").await), ("default", 0));
    }
}

#[tokio::test]
async fn declared_options_are_defaults_of_pushes_by_the_same_plugin() {
    let own = Pushing::with(&[WORK, DECLARED]).await;
    assert_eq!(place(&own.pushed("").await), ("mail", 10));
    assert_eq!(
        place(&own.pushed(r#"{"queue":"mail","priority":11}"#).await),
        ("mail", 11)
    );
    // Defaults of other plugins are unknown.
    let asks = Pushing::with(&[ASKS]).await;
    asks.grant(&["child"]);
    assert_eq!(place(&asks.pushed("").await), ("default", 0));
}

#[tokio::test]
async fn another_queue_or_higher_priority_needs_a_need_and_a_grant() {
    let own = Pushing::with(&[WORK, DECLARED]).await;
    for (options, rule) in [
        (r#"{"queue":"other"}"#, "child queue=other"),
        (r#"{"priority":9}"#, "child priority=9"),
        (
            r#"{"queue":"other","priority":-2147483648}"#,
            "child queue=other priority=-2147483648",
        ),
    ] {
        let error = own.denied(options).await;
        assert!(
            error.contains(&format!("needs(push = \"{rule}\")")),
            "{error}"
        );
        assert!(error.ends_with(&format!("push = [\"{rule}\"]")), "{error}");
        own.grant(&[rule]);
        assert!(!own.denied(options).await.contains("[grants"), "{options}");
        let asks = WORK.replace('}', &format!(r#","needs":{{"push":["{rule}"]}}}}"#));
        let asks = Pushing::with(&[&asks, DECLARED]).await;
        own.grant(&[]);
        asks.grant(&[rule]);
        asks.pushed(options).await;
        asks.grant(&["child"]);
        asks.denied(options).await;
    }
}

#[tokio::test]
async fn a_declared_priority_below_zero_takes_effect_only_with_a_grant() {
    let own = Pushing::with(&[WORK, URGENT]).await;
    for rules in [&[][..], &["child"], &["child priority=-4"]] {
        own.grant(rules);
        let error = own.denied("").await;
        assert!(!error.contains("does not ask"), "{error}");
        assert!(error.contains("\"child priority=-5\"]"), "{error}");
    }
    assert_eq!(
        place(&own.pushed(r#"{"priority":0}"#).await),
        ("default", 0)
    );
    own.grant(&["child priority=-5"]);
    assert_eq!(place(&own.pushed("").await), ("default", -5));
    own.denied(r#"{"priority":-6}"#).await;
}

#[tokio::test]
async fn a_key_is_scoped_to_its_plugin_unless_the_operator_shares_it() {
    let own = Pushing::with(&[WORK, CHILD]).await;
    let scope = |task: &NewTask| (task.key.clone(), task.key_scope.clone());
    let keyed = r#"{"key":"order-42"}"#;
    let key = Some("order-42".to_owned());
    assert_eq!(
        scope(&own.pushed(keyed).await),
        (key.clone(), Some(Arc::from("guest")))
    );
    assert_eq!(scope(&own.pushed("").await), (None, None));
    own.grant(&["child"]);
    assert!(own.pushed(keyed).await.key_scope.is_some());
    own.grant(&["other keys=shared", "child keys=shared"]);
    assert_eq!(scope(&own.pushed(keyed).await), (key, None));
    own.grant(&["other keys=shared"]);
    assert!(own.pushed(keyed).await.key_scope.is_some());
}

#[tokio::test]
async fn pushes_to_a_plugin_with_too_many_waiting_tasks_are_rejected() {
    let own = Pushing::with(&[WORK, CHILD]).await;
    let name = |text| Name::new(text).expect("a name");
    let plugin = [name("work"), name("child")];
    let look = |n| PushLook {
        waiting: vec![(name("work"), 4), (name("child"), n)],
        elsewhere: Vec::new(),
    };
    own.pushed("").await;
    own.facts.set(look(6), [&plugin[..]]);
    let (pushed, _) = own.push("").await;
    assert_eq!(
        pushed.expect_err("ten wait"),
        "about 10 tasks of this plugin wait already, its limit is 10; push again when they have run, or raise `limits.waiting`"
    );
    own.facts.set(look(5), [&plugin[..]]);
    own.pushed("").await;
}

#[tokio::test]
async fn a_handler_served_by_another_runners_plugin_is_not_the_plugins_own() {
    let own = Pushing::with(&[WORK, CHILD]).await;
    let look = PushLook {
        waiting: Vec::new(),
        elsewhere: vec![Name::new("child").expect("a name")],
    };
    own.facts.set(look, []);
    own.denied("").await;
    let asks = Pushing::with(&[ASKS, CHILD]).await;
    asks.grant(&["child"]);
    asks.pushed("").await;
}
