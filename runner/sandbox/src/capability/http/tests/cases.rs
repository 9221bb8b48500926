//! The table of requests that the SDK's test double is held to, too.

use super::super::fake::{FakeRequest, FakeResponse};
use super::*;

#[derive(Debug)]
struct Always;

impl FakeHttp for Always {
    fn answer(&self, _: FakeRequest) -> Result<FakeResponse, String> {
        Ok(FakeResponse {
            status: 200,
            ..FakeResponse::default()
        })
    }
}

/// Sends one request under one rule; a text that is not a URL is not sent.
async fn is_allowed(rule: &str, method: &str, url: &str) -> bool {
    let mut setup = bare();
    setup.needs.http = rules(&[rule]);
    setup.grant.http = rules(&[rule]);
    setup.fake = Some(Arc::new(Always));
    let is_url = url.parse::<http::Uri>().is_ok();
    let options = RequestOptions::default();
    let asker = setup.asker();
    is_url && asker.ask(request(method, url, ""), options).await.is_ok()
}

#[tokio::test]
async fn every_request_of_the_contract_s_table_is_allowed_or_denied_as_it_says() {
    let mut wrong = Vec::new();
    let table = include_str!("../../../../../../sdk/contract/cases/http.txt");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [verdict, rule, method, url] = cells[..] else {
            panic!("a line has four cells: {line}");
        };
        let rule = rule.replace('_', " ");
        if is_allowed(&rule, method, url).await != (verdict == "allowed") {
            wrong.push(line);
        }
    }
    assert_eq!(wrong, [""; 0]);
}
