//! The smallest plugin: two handlers and their tests.

use pgtq_sdk::prelude::*;

/// The version that `greet` returns. The demo and the tests build the plugin with
/// different values of `HELLO_VERSION`.
const VERSION: &str = match option_env!("HELLO_VERSION") {
    Some(version) => version,
    None => "1",
};

/// Add two numbers.
#[handler(retries = 5, timeout = 30s, memory = 64MiB)]
fn add_numbers(a: i64, b: i64) -> i64 {
    a + b
}

/// Return a greeting and the version of the plugin.
#[handler]
fn greet(
    /// The name in the greeting.
    #[default("world")]
    name: String,
) -> Greeting {
    info!(version = VERSION, "greeting {name}");
    Greeting {
        text: format!("Hello, {name}!"),
        version: VERSION.to_owned(),
    }
}

/// The result of `greet`.
#[data]
#[derive(Debug, PartialEq)]
pub struct Greeting {
    /// The greeting.
    pub text: String,
    /// The version of the plugin.
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
    fn arguments_are_accepted_by_name_and_by_position() {
        let ctx = Ctx::test();
        assert_eq!(
            ctx.run("add_numbers", json!({"a": 2, "b": 3})),
            Ok(json!(5))
        );
        assert_eq!(ctx.run("add_numbers", json!([2, 3])), Ok(json!(5)));
    }

    #[test]
    fn the_name_has_a_default() {
        let ctx = Ctx::test();
        let greeting = ctx.run("greet", json!({})).expect("the name is optional");
        assert_eq!(greeting["text"], "Hello, world!");
        assert_eq!(ctx.logs()[0].message, "greeting world");
    }
}
