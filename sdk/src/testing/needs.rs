//! What a handler asks for, so that a test notices what it forgot to.

use pgtq_contract::HandlerInfo;
use serde_json::Value;

use crate::http::url::Url;

/// What the attribute says about a handler of this crate; `None` for any other.
pub(crate) fn info(handler: &str) -> Option<HandlerInfo<Value>> {
    let info = crate::registry::info(handler)?;
    Some(serde_json::from_str(info).expect("the attribute writes a handler's description"))
}

/// What covers a request, as a person would ask for it.
pub(crate) fn rule_for(url: &Url) -> String {
    format!("http = \"{}://{}\"", url.scheme(), url.authority)
}

#[cfg(test)]
mod tests {
    use pgtq_contract::{HttpRule, Needs};

    use crate::ctx::Ctx;
    use crate::testing::http::Reply;

    #[test]
    fn a_request_is_allowed_or_denied_as_by_the_runner() {
        let mut wrong = Vec::new();
        let table = include_str!("../../contract/cases/http.txt");
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [verdict, rule, method, url] = cells[..] else {
                panic!("a line has four cells: {line}");
            };
            let rule: HttpRule = rule.replace('_', " ").parse().expect(line);
            let ctx = Ctx::test().on_http("*", "*", |_| Ok(Reply::status(200)));
            ctx.record.borrow_mut().begin(Some(Needs {
                http: vec![rule],
                ..Needs::default()
            }));
            let is_allowed = ctx.http().request(method, url).send().is_ok();
            if is_allowed != (verdict == "allowed") {
                wrong.push(line);
            }
        }
        assert_eq!(wrong, [""; 0]);
    }
}
