//! The table of requests that the runner and the SDK's test double are held to, too.

use super::target;
use crate::HttpRule;

#[test]
fn every_request_of_the_table_is_allowed_or_denied_as_it_says() {
    let mut wrong = Vec::new();
    let table = include_str!("../../cases/http.txt");
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [verdict, rule, method, url] = cells[..] else {
            panic!("a line has four cells: {line}");
        };
        let rule: HttpRule = rule.replace('_', " ").parse().expect(line);
        let is_allowed = target(method, url).is_ok_and(|target| rule.allows(&target));
        if is_allowed != (verdict == "allowed") {
            wrong.push(line);
        }
    }
    assert_eq!(wrong, [""; 0]);
}
