//! The smallest plugin: two handlers, their tests, nothing else.

use pgtq_sdk::prelude::*;

/// Which build answers. Set `HELLO_VERSION` while building to make another
/// one: that is how the demo and the tests tell versions apart.
const VERSION: &str = match option_env!("HELLO_VERSION") {
    Some(version) => version,
    None => "1",
};

/// Add two numbers.
#[handler(retries = 5, timeout = 30s, memory = 64MiB)]
fn add_numbers(a: i64, b: i64) -> i64 {
    a + b
}

/// Greet somebody, and say which version of the plugin does it.
#[handler]
fn greet(
    /// Who is greeted.
    #[default("world")]
    name: String,
) -> Greeting {
    info!(version = VERSION, "greeting {name}");
    Greeting {
        text: format!("Hello, {name}!"),
        version: VERSION.to_owned(),
    }
}

/// What `greet` answers.
#[data]
#[derive(Debug, PartialEq)]
pub struct Greeting {
    /// The greeting.
    pub text: String,
    /// The version of the plugin that wrote it.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_added() {
        assert_eq!(add_numbers(2, 3), 5);
    }

    #[test]
    fn both_forms_of_arguments_are_understood() {
        let ctx = Ctx::test();
        assert_eq!(
            ctx.run("add_numbers", json!({"a": 2, "b": 3})),
            Ok(json!(5))
        );
        assert_eq!(ctx.run("add_numbers", json!([2, 3])), Ok(json!(5)));
    }

    #[test]
    fn greetings_have_a_default() {
        let ctx = Ctx::test();
        let greeting = ctx.run("greet", json!({})).expect("it greets anybody");
        assert_eq!(greeting["text"], "Hello, world!");
        assert_eq!(ctx.logs()[0].message, "greeting world");
    }
}
