//! Rules of HTTP requests, and the one check of a request against them.

use std::fmt;
use std::str::FromStr;

use crate::host::{HostRule, PortRule, host, split_port};
use crate::path::is_ambiguous;

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
    /// Whether the rule allows a request.
    pub fn allows(&self, request: &HttpTarget) -> bool {
        (self.methods.is_empty() || self.methods.contains(&request.method))
            && self.secure == request.secure
            && self.host.allows(&request.host)
            && self.port.allows(request.port)
            && self.allows_path(&request.path)
    }

    /// Whether the rule allows a path, without the query. A rule with a path allows no path that
    /// a server could resolve to another one.
    pub fn allows_path(&self, path: &str) -> bool {
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

    /// The narrowest rule that allows a request, if there is one: its method, scheme, host and
    /// port, and the directory of its path, or the path itself if it is in none. `None` for a
    /// path that only a rule for the whole host can allow.
    pub fn narrowest(request: &HttpTarget) -> Option<HttpRule> {
        let path = request.path.as_str();
        let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
        let rule = HttpRule {
            methods: vec![request.method.clone()],
            secure: request.secure,
            host: HostRule::Exactly(request.host.clone()),
            port: PortRule::Exactly(request.port),
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
            (host, None) => (host, PortRule::Exactly(standard_port(secure))),
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
        if self.port != PortRule::Exactly(standard_port(self.secure)) {
            write!(f, ":{}", self.port)?;
        }
        match self.path.as_str() {
            "/" => Ok(()),
            path => f.write_str(path),
        }
    }
}

/// The target of a request, in the form that rules check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Upper case.
    pub method: String,
    /// `https`, not `http`.
    pub secure: bool,
    /// In the form of [`host()`].
    pub host: String,
    /// Which port.
    pub port: u16,
    /// Begins with `/`. Without the query, which may contain secrets that must not be logged.
    pub path: String,
}

/// A request that no rule could allow, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    /// The method is `CONNECT`, or does not consist of capital letters.
    Method(String),
    /// The URL is not `http` or `https`, or its host or port is malformed.
    Url(String),
}

impl HttpTarget {
    /// Parses the parts of a request's URL; `authority` is a host and perhaps a port.
    pub fn read(
        method: &str,
        scheme: &str,
        authority: &str,
        path: &str,
    ) -> Result<HttpTarget, TargetError> {
        if authority.contains('@') {
            return Err(TargetError::Url(
                "a URL with a user or password in it; send an `authorization` header instead"
                    .to_owned(),
            ));
        }
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => {
                let message = "the scheme is neither `https` nor `http`";
                return Err(TargetError::Url(message.to_owned()));
            }
        };
        let (name, port) = split_port(authority);
        let host = host(name).map_err(TargetError::Url)?;
        let port = match port.map(str::parse) {
            None => standard_port(secure),
            Some(Ok(port)) if port > 0 => port,
            Some(_) => {
                let port = port.unwrap_or_default();
                return Err(TargetError::Url(format!("`{port}` is not a port")));
            }
        };
        if method == "CONNECT"
            || method.is_empty()
            || !method.bytes().all(|b| b.is_ascii_uppercase())
        {
            return Err(TargetError::Method(format!(
                "`{method}` is not a method that a rule could grant"
            )));
        }
        Ok(HttpTarget {
            method: method.to_owned(),
            secure,
            host,
            port,
            path: path.to_owned(),
        })
    }

    /// `https://api.example.com:8443`, with the port only if it is not the scheme's default.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// `api.example.com:8443`, with the port only if it is not the scheme's default.
    pub fn authority(&self) -> String {
        match self.port == standard_port(self.secure) {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// The port of a URL that names none.
fn standard_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}
