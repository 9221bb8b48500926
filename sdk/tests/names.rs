//! Handlers with the name of a crate, a module or a primitive type.

use pgtq_sdk::prelude::*;

mod resize {
    pub(super) fn halved(edge: u32) -> u32 {
        edge / 2
    }
}

/// Has the name of a module.
#[handler(push = "resize_task")]
fn resize(edge: u32) -> u32 {
    resize::halved(edge)
}

/// Has the name of a crate that it uses.
#[handler(push = "json_task", queue = "texts")]
fn serde_json(text: &str) -> Result<serde_json::Value> {
    Ok(serde_json::from_str(text)?)
}

/// Has the name of a primitive type.
#[handler(push = "StrTask")]
fn str(text: Option<&str>, #[default(1)] times: usize) -> String {
    let text: &str = text.unwrap_or("none");
    <str>::repeat(text, times)
}

#[handler(push = "u8_task")]
fn u8(u8: u8) -> u8 {
    u8.saturating_add(u8::MIN)
}

mod elsewhere {
    use super::*;

    /// The type of the typed pushes has the visibility of the handler.
    #[handler(name = "elsewhere.csv", push = "csv_task")]
    pub(super) fn csv(line: &str) -> usize {
        line.split(',').count()
    }
}

#[handler(name = "a-b")]
fn dash() -> u8 {
    1
}

#[handler(name = "a_dash_b")]
fn word() -> u8 {
    2
}

#[handler]
#[cfg(not(test))]
fn absent(missing: NoSuchType) {}

#[handler]
#[cfg(test)]
fn present() -> u8 {
    3
}

#[test]
fn a_handler_may_have_the_name_of_a_crate_a_module_or_a_type() {
    let ctx = Ctx::test();
    assert_eq!(resize(10), 5);
    assert_eq!(ctx.run("resize", json!([10])), Ok(json!(5)));
    assert_eq!(ctx.run("serde_json", json!(["[1]"])), Ok(json!([1])));
    assert_eq!(ctx.run("str", json!(["ab", 2])), Ok(json!("abab")));
    assert_eq!(ctx.run("str", json!({})), Ok(json!("none")));
    assert_eq!(ctx.run("u8", json!({"u8": 7})), Ok(json!(7)));
    assert_eq!(ctx.run("elsewhere.csv", json!(["a,b"])), Ok(json!(2)));
}

#[test]
fn the_push_option_names_the_type_of_the_typed_pushes() {
    let ctx = Ctx::test();
    resize_task::push(9).expect("the push is accepted");
    json_task::task("1")
        .delay(secs(1))
        .push()
        .expect("the push is accepted");
    StrTask::push(Some("a"), 3).expect("the push is accepted");
    StrTask::push(None, 3).expect("the push is accepted");
    elsewhere::csv_task::push("a,b").expect("the push is accepted");
    assert_eq!(resize_task::NAME, "resize");
    assert_eq!(ctx.pushed("resize")[0].payload, json!({"edge": 9}));
    assert_eq!(ctx.pushed("serde_json")[0].queue.as_deref(), Some("texts"));
    assert_eq!(
        ctx.pushed("str")[0].payload,
        json!({"text": "a", "times": 3})
    );
    assert_eq!(
        ctx.pushed("str")[1].payload,
        json!({"text": null, "times": 3})
    );
    assert_eq!(ctx.pushed(elsewhere::csv_task::NAME).len(), 1);
}

#[test]
fn names_with_different_punctuation_do_not_conflict() {
    let ctx = Ctx::test();
    assert_eq!(ctx.run("a-b", json!([])), Ok(json!(1)));
    assert_eq!(ctx.run("a_dash_b", json!([])), Ok(json!(2)));
}

#[test]
fn a_cfg_below_the_attribute_applies_to_the_whole_handler() {
    let ctx = Ctx::test();
    assert_eq!(ctx.run("present", json!([])), Ok(json!(3)));
    let error = ctx
        .run("absent", json!([]))
        .expect_err("it is compiled out");
    assert_eq!(error.message(), "this plugin has no handler `absent`");
}
