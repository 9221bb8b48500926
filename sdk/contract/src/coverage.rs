//! Compares rules with rules: whether the granted rules cover the requested ones.

use crate::host::{HostRule, PortRule, TcpRule};
use crate::http::HttpRule;
use crate::push::{HandlerRule, PushRule};

/// How much of a request is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coverage {
    /// Nothing of it.
    None,
    /// A part: `https://*` was requested, one host is granted.
    Partial,
    /// All of it.
    Full,
}

impl Coverage {
    /// Its stable text: `granted`, `partly`, `refused`.
    pub fn as_str(self) -> &'static str {
        match self {
            Coverage::None => "refused",
            Coverage::Partial => "partly",
            Coverage::Full => "granted",
        }
    }
}

/// A rule that can be compared with another of its kind.
pub trait Covers {
    /// Whether this rule allows everything that `other` allows.
    fn covers(&self, other: &Self) -> bool;

    /// Whether both rules allow something in common.
    fn meets(&self, other: &Self) -> bool;
}

/// The coverage of a requested rule by a list of granted rules. Two rules that cover it only
/// together count as `Partial`.
pub fn cover<R: Covers>(granted: &[R], asked: &R) -> Coverage {
    if granted.iter().any(|rule| rule.covers(asked)) {
        Coverage::Full
    } else if granted.iter().any(|rule| rule.meets(asked)) {
        Coverage::Partial
    } else {
        Coverage::None
    }
}

/// As [`cover`], method by method: `GET` and `POST` may be in two rules.
pub fn cover_http(granted: &[HttpRule], asked: &HttpRule) -> Coverage {
    let single = |method: &String| HttpRule {
        methods: vec![method.clone()],
        ..asked.clone()
    };
    let covers: Vec<Coverage> = asked
        .methods
        .iter()
        .map(|method| cover(granted, &single(method)))
        .collect();
    match (covers.iter().min(), covers.iter().max()) {
        (Some(least), Some(most)) if least == most => *least,
        (Some(_), Some(_)) => Coverage::Partial,
        _ => cover(granted, asked),
    }
}

impl Covers for HostRule {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (HostRule::Any, _) => true,
            (_, HostRule::Any) => false,
            // A domain below another domain is covered by it.
            (HostRule::Below(domain), HostRule::Below(inner)) => {
                domain == inner || self.allows(inner)
            }
            (HostRule::Exactly(_), HostRule::Below(_)) => false,
            (_, HostRule::Exactly(host)) => self.allows(host),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        // Of two overlapping domain trees, one contains the other.
        self.covers(other) || other.covers(self)
    }
}

impl Covers for PortRule {
    fn covers(&self, other: &Self) -> bool {
        *self == PortRule::Any || self == other
    }

    fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl Covers for TcpRule {
    fn covers(&self, other: &Self) -> bool {
        self.host.covers(&other.host) && self.port.covers(&other.port)
    }

    fn meets(&self, other: &Self) -> bool {
        self.host.meets(&other.host) && self.port.meets(&other.port)
    }
}

impl Covers for HandlerRule {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (HandlerRule::Prefix(prefix), HandlerRule::Prefix(inner)) => inner.starts_with(prefix),
            (HandlerRule::Exactly(_), HandlerRule::Prefix(_)) => false,
            (_, HandlerRule::Exactly(handler)) => self.allows(handler.as_str()),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        // Of two overlapping sets of names with a common prefix, one contains the other.
        self.covers(other) || other.covers(self)
    }
}

impl PushRule {
    /// Whether this rule allows everything that `other` allows, apart from the handlers.
    fn covers_options(&self, other: &Self) -> bool {
        let allows_priority = match (self.priority, other.priority) {
            (_, None) => true,
            (None, Some(asked)) => asked >= 0,
            (Some(granted), Some(asked)) => granted <= asked,
        };
        allows_priority
            && other.queues.iter().all(|queue| self.queues.contains(queue))
            && (self.shared_keys || !other.shared_keys)
    }
}

impl Covers for PushRule {
    fn covers(&self, other: &Self) -> bool {
        self.handlers.covers(&other.handlers) && self.covers_options(other)
    }

    /// The handlers alone are not enough: a rule that lacks a queue or a priority leaves each of
    /// these pushes denied, and the line to paste must be shown.
    fn meets(&self, other: &Self) -> bool {
        self.handlers.meets(&other.handlers) && self.covers_options(other)
    }
}

impl TcpRule {
    /// Whether there is a connection that both rules allow.
    pub fn overlaps(&self, other: &TcpRule) -> bool {
        self.meets(other)
    }
}

impl Covers for HttpRule {
    fn covers(&self, other: &Self) -> bool {
        let all_methods = !other.methods.is_empty()
            && other
                .methods
                .iter()
                .all(|method| self.methods.contains(method));
        (self.methods.is_empty() || all_methods)
            && self.secure == other.secure
            && self.host.covers(&other.host)
            && self.port.covers(&other.port)
            && self.allows_path(&other.path)
    }

    fn meets(&self, other: &Self) -> bool {
        let a_method = self.methods.is_empty()
            || other.methods.is_empty()
            || other
                .methods
                .iter()
                .any(|method| self.methods.contains(method));
        a_method
            && self.secure == other.secure
            && self.host.meets(&other.host)
            && self.port.meets(&other.port)
            && (self.allows_path(&other.path) || other.allows_path(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(granted: &[&str], asked: &str) -> Coverage {
        let rule = |text: &str| text.parse::<HttpRule>().expect("a rule");
        let granted: Vec<HttpRule> = granted.iter().map(|text| rule(text)).collect();
        cover_http(&granted, &rule(asked))
    }

    #[test]
    fn a_rule_covers_itself_and_narrower_rules() {
        for (granted, asked) in [
            ("https://a", "https://a"),
            ("https://a", "GET https://a/v1/x"),
            ("GET,POST https://a", "POST https://a"),
            ("https://*", "https://*.example.com"),
            ("https://*.example.com", "https://*.eu.example.com"),
            ("https://*.example.com", "https://api.example.com"),
            ("https://a:*", "https://a:8443"),
            ("https://a/v1", "https://a/v1/"),
        ] {
            assert_eq!(http(&[granted], asked), Coverage::Full, "{granted} {asked}");
        }
    }

    #[test]
    fn a_request_wider_than_the_grant_is_granted_partly() {
        for (granted, asked) in [
            ("https://a", "https://*"),
            ("https://a.example.com", "https://*.example.com"),
            ("https://*.eu.example.com", "https://*.example.com"),
            ("GET https://a", "https://a"),
            ("GET https://a", "GET,POST https://a"),
            ("https://a:8443", "https://a:*"),
            ("https://a/v1/", "https://a/v1"),
            ("https://a/v1/x", "https://a"),
        ] {
            assert_eq!(
                http(&[granted], asked),
                Coverage::Partial,
                "{granted} {asked}"
            );
        }
    }

    #[test]
    fn a_request_outside_all_rules_is_denied() {
        for (granted, asked) in [
            ("https://a", "http://a"),
            ("https://a", "https://b"),
            ("https://*.example.com", "https://example.com"),
            ("https://*.example.com", "https://evilexample.com"),
            ("GET https://a", "POST https://a"),
            ("https://a:8443", "https://a"),
            ("https://a/v1", "https://a/v10"),
        ] {
            assert_eq!(http(&[granted], asked), Coverage::None, "{granted} {asked}");
        }
        assert_eq!(http(&[], "https://a"), Coverage::None);
    }

    #[test]
    fn methods_may_be_granted_by_two_rules() {
        let two = ["GET https://a", "POST https://a/v1"];
        assert_eq!(http(&two, "GET,POST https://a/v1/x"), Coverage::Full);
        assert_eq!(http(&two, "GET,POST https://a"), Coverage::Partial);
        assert_eq!(http(&two, "PUT https://a"), Coverage::None);
    }

    #[test]
    fn pushes_are_covered_by_handlers_queues_priority_and_keys() {
        let push = |granted: &[&str], asked: &str| {
            let rule = |text: &str| text.parse::<PushRule>().expect("a rule");
            let granted: Vec<PushRule> = granted.iter().map(|text| rule(text)).collect();
            cover(&granted, &rule(asked))
        };
        for (granted, asked, expected) in [
            ("mail.*", "mail.send", Coverage::Full),
            ("mail.*", "mail.x.*", Coverage::Full),
            ("*", "mail.*", Coverage::Full),
            ("mail.send", "mail.*", Coverage::Partial),
            ("mail.send", "mail.read", Coverage::None),
            ("mail.send", "mail.send queue=mail", Coverage::None),
            (
                "mail.send queue=mail,bulk",
                "mail.send queue=mail",
                Coverage::Full,
            ),
            ("mail.send", "mail.send priority=3", Coverage::Full),
            ("mail.send", "mail.send priority=-3", Coverage::None),
            (
                "mail.send priority=-3",
                "mail.send priority=-4",
                Coverage::None,
            ),
            (
                "mail.send priority=-3",
                "mail.send priority=-3",
                Coverage::Full,
            ),
            ("mail.send", "mail.send keys=shared", Coverage::None),
            ("mail.send keys=shared", "mail.send", Coverage::Full),
        ] {
            assert_eq!(push(&[granted], asked), expected, "{granted} {asked}");
        }
        assert_eq!(push(&[], "mail.send"), Coverage::None);
    }

    #[test]
    fn connections_are_covered_by_host_and_port() {
        let tcp = |granted: &str, asked: &str| {
            let rule = |text: &str| text.parse::<TcpRule>().expect("a rule");
            cover(&[rule(granted)], &rule(asked))
        };
        assert_eq!(
            tcp("*.example.com:*", "smtp.example.com:25"),
            Coverage::Full
        );
        assert_eq!(
            tcp("smtp.example.com:587", "smtp.example.com:*"),
            Coverage::Partial
        );
        assert_eq!(
            tcp("smtp.example.com:587", "smtp.example.com:25"),
            Coverage::None
        );
    }
}
