//! What a handler asks for, so that a test notices what it forgot to.

use serde::Deserialize;
use serde_json::Value;

use crate::http::Url;

/// The manifest's `needs`, as the attribute writes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Needs {
    pub(crate) http: Vec<String>,
    pub(crate) sql: bool,
    pub(crate) secrets: Vec<String>,
    pub(crate) push: Vec<String>,
}

/// What a handler of this crate declares for pushes to it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PushDefaults {
    pub(crate) queue: Option<String>,
    pub(crate) priority: i32,
}

impl PushDefaults {
    /// Of a handler of this crate; `None` for any other.
    pub(crate) fn of(handler: &str) -> Option<Self> {
        let info: Value = serde_json::from_str(crate::registry::info(handler)?).unwrap_or_default();
        Some(PushDefaults::deserialize(&info["push"]).unwrap_or_default())
    }

    /// The queue of a push that names none.
    pub(crate) fn queue(&self) -> &str {
        self.queue.as_deref().unwrap_or("default")
    }
}

impl Needs {
    /// Of a handler's registered description.
    pub(crate) fn of(info: &str) -> Self {
        let info: Value = serde_json::from_str(info).unwrap_or_default();
        Needs::deserialize(&info["needs"]).unwrap_or_default()
    }

    /// Whether a rule covers a push to a handler with these defaults.
    pub(crate) fn cover_push(
        &self,
        handler: &str,
        queue: &str,
        priority: i32,
        defaults: &PushDefaults,
    ) -> bool {
        let covers = |rule: &String| {
            let mut words = rule.split(' ');
            let handlers = words.next().unwrap_or_default();
            let (mut is_queue, mut least) = (queue == defaults.queue(), defaults.priority.max(0));
            for word in words {
                match word.split_once('=') {
                    Some(("queue", names)) => is_queue |= names.split(',').any(|one| one == queue),
                    Some(("priority", number)) => {
                        least = least.min(number.parse().unwrap_or(least));
                    }
                    _ => {}
                }
            }
            let is_handler = match handlers.strip_suffix('*') {
                Some(prefix) => handler.starts_with(prefix),
                None => handler == handlers,
            };
            is_handler && is_queue && priority >= least
        };
        self.push.iter().any(covers)
    }

    /// Whether a rule covers a request.
    pub(crate) fn cover(&self, method: &str, url: &Url) -> bool {
        self.http.iter().any(|rule| covers(rule, method, url))
    }
}

/// What covers a request, as a person would ask for it.
pub(crate) fn rule_for(url: &Url) -> String {
    let scheme = if url.secure { "https" } else { "http" };
    format!("http = \"{scheme}://{}\"", url.authority)
}

/// `GET,POST https://api.example.com:8443/v1/`: the rules are in the form that
/// the attribute brings them into.
fn covers(rule: &str, method: &str, url: &Url) -> bool {
    let (methods, rule) = rule.rsplit_once(' ').unwrap_or(("", rule));
    let Some((scheme, rest)) = rule.split_once("://") else {
        return false;
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let own_port = if url.secure { "443" } else { "80" };
    let (wanted_host, wanted_port) = host_and_port(authority, own_port);
    let authority = url.authority.to_ascii_lowercase();
    let (host, port) = host_and_port(&authority, own_port);
    (methods.is_empty() || methods.split(',').any(|known| known == method))
        && (scheme == "https") == url.secure
        && covers_host(wanted_host, host.strip_suffix('.').unwrap_or(host))
        && (wanted_port == "*" || wanted_port == port)
        && covers_path(path, url.path())
}

fn host_and_port<'a>(authority: &'a str, own_port: &'a str) -> (&'a str, &'a str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, own_port),
    }
}

fn covers_host(rule: &str, host: &str) -> bool {
    match rule.strip_prefix('*') {
        Some("") => true,
        Some(domain) => host.len() > domain.len() && host.ends_with(domain),
        None => rule == host,
    }
}

fn covers_path(rule: &str, path: &str) -> bool {
    match path.strip_prefix(rule) {
        Some(rest) => rest.is_empty() || rule.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_cover_pushes_as_in_the_runner() {
        let declared = PushDefaults {
            queue: Some("slow".to_owned()),
            priority: -5,
        };
        for (rule, handler, queue, priority, is_covered) in [
            ("mail.*", "mail.send", "slow", 0, true),
            ("mail.*", "mail", "slow", 0, false),
            ("*", "x", "slow", 3, true),
            ("mail.send", "mail.send", "slow", -5, false),
            ("mail.send", "mail.send", "default", 0, false),
            ("mail.send queue=a,b", "mail.send", "b", 0, true),
            ("mail.send queue=a priority=-5", "mail.send", "a", -5, true),
            ("mail.send priority=-5", "mail.send", "slow", -6, false),
        ] {
            let needs = Needs {
                push: vec![rule.to_owned()],
                ..Needs::default()
            };
            let covered = needs.cover_push(handler, queue, priority, &declared);
            assert_eq!(covered, is_covered, "{rule} {handler} {queue} {priority}");
        }
    }

    #[test]
    fn rules_cover_requests_as_in_the_runner() {
        for (rule, method, url, is_covered) in [
            ("https://*", "GET", "https://a.example/b?c", true),
            ("https://*", "GET", "http://a.example/", false),
            ("https://*", "GET", "https://a.example:8443/", false),
            ("https://*:*", "GET", "https://a.example:8443/", true),
            (
                "GET,POST https://a/v1",
                "POST",
                "https://A:443/v1/x?y",
                true,
            ),
            ("GET,POST https://a/v1", "PUT", "https://a/v1/x", false),
            ("https://a/v1", "GET", "https://a/v10", false),
            (
                "https://*.example.com",
                "GET",
                "https://a.example.com/",
                true,
            ),
            (
                "https://*.example.com",
                "GET",
                "https://example.com/",
                false,
            ),
            ("http://[::1]:80", "GET", "http://[::1]/", true),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(covers(rule, method, &url), is_covered, "{rule} {url:?}");
        }
    }
}
