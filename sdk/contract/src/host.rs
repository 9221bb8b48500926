//! Hosts and ports of rules, and the rules of TCP connections.

use std::fmt;
use std::str::FromStr;

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

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
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
        let wrong = |reason: String| {
            format!("`{text}`: {reason}; write a rule like \"smtp.example.com:587\"")
        };
        let (host, Some(port)) = split_port(text.trim()) else {
            return Err(wrong("the port is missing".to_owned()));
        };
        Ok(TcpRule {
            host: host.parse().map_err(wrong)?,
            port: PortRule::parse(port).map_err(wrong)?,
        })
    }
}

impl fmt::Display for TcpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Splits `host:port`, `[v6]:port` or a host alone.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}
