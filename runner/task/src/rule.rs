//! Rules: the requests, connections and pushes that a plugin requests, and those it is granted.
//! Both use the same syntax.

mod push;

pub use push::{HandlerRule, PushRule};

use std::fmt;
use std::str::FromStr;

use super::path::is_ambiguous;

/// Hosts of a rule: one, all below a domain, or all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostRule {
    /// `*`
    Any,
    /// `*.example.com`: every name below the domain, not the domain itself.
    Below(String),
    /// `example.com`, or an address.
    Exactly(String),
}

impl HostRule {
    /// Whether the rule matches a host in the form of [`host`].
    pub fn allows(&self, host: &str) -> bool {
        match self {
            HostRule::Any => true,
            HostRule::Below(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            HostRule::Exactly(name) => name == host,
        }
    }

    /// Whether the rule names one exact host rather than a group of hosts.
    pub fn is_exact(&self) -> bool {
        matches!(self, HostRule::Exactly(_))
    }
}

impl FromStr for HostRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(HostRule::Any);
        }
        // The placeholder in lines to paste, for a value that only the operator knows.
        if text == "HOST" {
            return Err("HOST is a placeholder: write the host's name".to_owned());
        }
        match text.strip_prefix("*.") {
            Some(domain) => Ok(HostRule::Below(host(domain)?)),
            None => Ok(HostRule::Exactly(host(text)?)),
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostRule::Any => f.write_str("*"),
            HostRule::Below(domain) => write!(f, "*.{domain}"),
            HostRule::Exactly(name) => f.write_str(name),
        }
    }
}

/// The canonical form of a host name: lower case, no trailing dot, IPv6 in brackets. Non-ASCII
/// names must be written in punycode.
pub fn host(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Some(inside) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return match inside.parse::<core::net::Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(format!("`{text}` is not an IPv6 address")),
        };
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let labels_are_full = name.split('.').all(|label| !label.is_empty());
    match !name.is_empty() && name.len() <= 253 && name.bytes().all(legal) && labels_are_full {
        true => Ok(name),
        false => Err(format!("`{text}` is not a host name")),
    }
}

/// Ports of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRule {
    /// `*`
    Any,
    /// One port.
    Exactly(u16),
}

impl PortRule {
    /// Whether the rule matches a port.
    pub fn allows(self, port: u16) -> bool {
        match self {
            PortRule::Any => true,
            PortRule::Exactly(only) => only == port,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(PortRule::Any);
        }
        match text.parse() {
            Ok(port) if port > 0 => Ok(PortRule::Exactly(port)),
            _ => Err(format!("`{text}` is not a port")),
        }
    }
}

impl fmt::Display for PortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRule::Any => f.write_str("*"),
            PortRule::Exactly(port) => port.fmt(f),
        }
    }
}

/// Maximum bytes of a suggested rule; a longer one would not be readable.
const MAX_NARROWEST: usize = 512;

/// `GET,POST https://api.example.com:8443/v1/`: methods (default: all), scheme, host, port
/// (default: the scheme's port) and a path that matches itself and everything below it (default:
/// all).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpRule {
    /// Upper case; empty means all.
    pub methods: Vec<String>,
    /// `https`, not `http`.
    pub secure: bool,
    /// The host.
    pub host: HostRule,
    /// The port.
    pub port: PortRule,
    /// Begins with `/`; `/` matches all.
    pub path: String,
}

impl HttpRule {
    /// Whether the rule matches a request. `host` is in the form of [`host`]; `path` is the path
    /// alone, without a query.
    pub fn allows(&self, method: &str, secure: bool, host: &str, port: u16, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && self.secure == secure
            && self.host.allows(host)
            && self.port.allows(port)
            && self.allows_path(path)
    }

    /// The narrowest rule that allows a request, if there is one: its method, scheme, host and
    /// port, and the directory of its path, or the path itself if it is in none. `None` for a
    /// path that only a rule for the whole host can allow.
    pub fn narrowest(
        method: &str,
        secure: bool,
        host: &str,
        port: u16,
        path: &str,
    ) -> Option<HttpRule> {
        let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
        let rule = HttpRule {
            methods: vec![method.to_owned()],
            secure,
            host: HostRule::Exactly(host.to_owned()),
            port: PortRule::Exactly(port),
            path: match directory {
                "/" => path.to_owned(),
                directory => directory.to_owned(),
            },
        };
        let text = rule.to_string();
        let is_plain =
            text.len() <= MAX_NARROWEST && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let reads_back = is_plain && text.parse().as_ref() == Ok(&rule);
        let whole_host = rule.path == "/" && path != "/";
        (reads_back && !is_ambiguous(path) && !whole_host).then_some(rule)
    }

    pub(super) fn allows_path(&self, path: &str) -> bool {
        if self.path == "/" {
            return true;
        }
        if is_ambiguous(path) {
            return false;
        }
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'),
            None => false,
        }
    }
}

impl FromStr for HttpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write a rule like \"GET,POST https://api.example.com/v1/\"";
        let wrong = |reason: &str| format!("`{text}`: {reason}; {EXAMPLE}");
        let (methods, url) = match text.trim().rsplit_once(' ') {
            Some((methods, url)) => (methods, url),
            None => ("", text.trim()),
        };
        let methods: Vec<String> = methods
            .split([',', ' '])
            .filter(|method| !method.is_empty())
            .map(str::to_ascii_uppercase)
            .collect();
        if methods
            .iter()
            .any(|m| !m.bytes().all(|b| b.is_ascii_uppercase()))
        {
            return Err(wrong("a method consists of letters"));
        }
        let (secure, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("the scheme is `https://` or `http://`")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if path.contains(['?', '#']) || authority.contains(['@', '?', '#']) {
            return Err(wrong("a rule has no user, query or fragment"));
        }
        let path = match path.ends_with("/*") {
            true => &path[..path.len() - 1],
            false => path,
        };
        if path.contains('*') {
            return Err(wrong(
                "a path ends with `/*` or has no `*`, and matches itself and all below it",
            ));
        }
        let (host, port) = match split_port(authority) {
            (host, Some(port)) => (host, PortRule::parse(port).map_err(|e| wrong(&e))?),
            (host, None) => (host, PortRule::Exactly(if secure { 443 } else { 80 })),
        };
        Ok(HttpRule {
            methods,
            secure,
            host: host.parse().map_err(|e: String| wrong(&e))?,
            port,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        write!(
            f,
            "{}://{}",
            if self.secure { "https" } else { "http" },
            self.host
        )?;
        if self.port != PortRule::Exactly(if self.secure { 443 } else { 80 }) {
            write!(f, ":{}", self.port)?;
        }
        match self.path.as_str() {
            "/" => Ok(()),
            path => f.write_str(path),
        }
    }
}

/// `smtp.example.com:587`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpRule {
    /// The host.
    pub host: HostRule,
    /// The port.
    pub port: PortRule,
}

impl FromStr for TcpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, Some(port)) = split_port(text.trim()) else {
            return Err(format!(
                "`{text}`: the port is missing; write a rule like \"smtp.example.com:587\""
            ));
        };
        Ok(TcpRule {
            host: host.parse()?,
            port: PortRule::parse(port)?,
        })
    }
}

impl fmt::Display for TcpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Splits `host:port`, `[v6]:port` or a host alone.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(HostRule, HttpRule, TcpRule, PushRule);

#[cfg(test)]
mod tests;
