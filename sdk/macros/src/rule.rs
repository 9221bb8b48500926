//! The texts of `needs(...)`: each is checked and brought into the one form
//! that the runner prints, too. An `Err` says what to write.

/// `GET,POST https://api.example.com:8443/v1/`.
pub(crate) fn http(text: &str) -> Result<String, String> {
    let wrong = |reason: &str| {
        format!("`{text}`: {reason}; write a rule like \"GET,POST https://api.example.com/v1/\"")
    };
    let (methods, url) = match text.trim().rsplit_once(' ') {
        Some((methods, url)) => (methods, url),
        None => ("", text.trim()),
    };
    let methods: Vec<String> = methods
        .split([',', ' '])
        .filter(|method| !method.is_empty())
        .map(str::to_ascii_uppercase)
        .collect();
    let is_word = |method: &String| method.bytes().all(|b| b.is_ascii_uppercase());
    if !methods.iter().all(is_word) {
        return Err(wrong("a method consists of letters"));
    }
    let (scheme, own_port, rest) = match url.split_once("://") {
        Some(("https", rest)) => ("https", "443", rest),
        Some(("http", rest)) => ("http", "80", rest),
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
    let (host, named) = split_port(authority);
    let host = host_rule(host).map_err(|fault| wrong(&fault))?;
    let named = named.map(port).transpose().map_err(|fault| wrong(&fault))?;
    let methods = match methods.is_empty() {
        true => String::new(),
        false => format!("{} ", methods.join(",")),
    };
    let port = match named {
        Some(port) if port != own_port => format!(":{port}"),
        _ => String::new(),
    };
    let path = if path == "/" { "" } else { path };
    Ok(format!("{methods}{scheme}://{host}{port}{path}"))
}

/// `smtp.example.com:587`.
pub(crate) fn tcp(text: &str) -> Result<String, String> {
    let wrong =
        |reason: &str| format!("`{text}`: {reason}; write a rule like \"smtp.example.com:587\"");
    let (host, Some(named)) = split_port(text.trim()) else {
        return Err(wrong("the port is missing"));
    };
    let host = host_rule(host).map_err(|fault| wrong(&fault))?;
    let port = port(named).map_err(|fault| wrong(&fault))?;
    Ok(format!("{host}:{port}"))
}

/// The name of a secret.
pub(crate) fn secret(text: &str) -> Result<String, String> {
    match crate::options::name_fault(text) {
        Some(fault) => Err(format!("`{text}`: {fault}")),
        None => Ok(text.to_owned()),
    }
}

/// A directory as the guest names it.
pub(crate) fn directory(text: &str) -> Result<String, String> {
    let inside = text.strip_prefix('/').unwrap_or("");
    let legal = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_control() || c == '\\')
    };
    match inside.split('/').all(legal) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}`: a directory begins with `/`, does not end with one and has no `.` or `..` \
             in it; write one like \"/data\""
        )),
    }
}

/// `mail.* queue=mail,bulk priority=-10 keys=shared`.
pub(crate) fn push(text: &str) -> Result<String, String> {
    let wrong = |reason: &str| {
        format!(
            "`{text}`: {reason}; write a rule like \"mail.*\" or \"mail.* queue=mail \
             priority=-10 keys=shared\""
        )
    };
    let mut words = text.split_whitespace();
    let handlers = words.next().ok_or_else(|| wrong("a rule names handlers"))?;
    let prefix = handlers.strip_suffix('*').unwrap_or(handlers);
    if handlers != "*" && crate::options::name_fault(prefix).is_some() {
        return Err(wrong(&format!(
            "`{handlers}` is neither the name of a handler nor a prefix followed by `*`"
        )));
    }
    let (mut queues, mut priority, mut keys) = (None, None, None);
    for word in words {
        match word.split_once('=') {
            Some(("queue", names)) if queues.is_none() => {
                let fault = names.split(',').find_map(crate::options::name_fault);
                if let Some(fault) = fault {
                    return Err(wrong(&format!("queue: {fault}")));
                }
                queues = Some(format!(" queue={names}"));
            }
            Some(("priority", number)) if priority.is_none() => {
                let number: i32 = number
                    .parse()
                    .map_err(|_| wrong("a priority is a whole number"))?;
                priority = Some(format!(" priority={number}"));
            }
            Some(("keys", "shared")) if keys.is_none() => keys = Some(" keys=shared"),
            _ => return Err(wrong(&format!("`{word}` is unknown, or given twice"))),
        }
    }
    let (queues, priority) = (queues.unwrap_or_default(), priority.unwrap_or_default());
    Ok(format!(
        "{handlers}{queues}{priority}{}",
        keys.unwrap_or_default()
    ))
}

fn host_rule(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    match text.strip_prefix("*.") {
        Some(domain) => host(domain).map(|domain| format!("*.{domain}")),
        None => host(text),
    }
}

/// Lower case, no dot at the end, IPv6 in brackets.
fn host(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Some(inside) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return match inside.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err(format!("`{text}` is not an IPv6 address")),
        };
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let labels_are_full = name.split('.').all(|label| !label.is_empty());
    match name.len() <= 253 && name.bytes().all(legal) && labels_are_full {
        true => Ok(name),
        false => Err(format!("`{text}` is not a host name")),
    }
}

fn port(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port.to_string()),
        _ => Err(format!("`{text}` is not a port")),
    }
}

/// `host:port`, `[v6]:port` or a host alone.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of the runner's own test of its rules.
    #[test]
    fn a_rule_keeps_the_form_that_the_runner_prints() {
        for text in [
            "https://api.example.com",
            "GET,POST https://*.example.com:8443/v1/",
            "http://127.0.0.1:*",
            "https://[::1]:8443/a",
        ] {
            assert_eq!(http(text).as_deref(), Ok(text));
        }
        for (text, kept) in [
            ("get post HTTPS", None),
            (
                "get  post https://A.Example.com.:443/*",
                Some("GET,POST https://a.example.com"),
            ),
            ("http://a:080/v1/*", Some("http://a/v1/")),
            ("http://a/v1*", None),
        ] {
            assert_eq!(http(text).ok().as_deref(), kept, "{text}");
        }
        for (text, kept) in [
            (" mail.* ", "mail.*"),
            ("*", "*"),
            (
                "a  keys=shared priority=+5 queue=b,c",
                "a queue=b,c priority=5 keys=shared",
            ),
        ] {
            assert_eq!(push(text).as_deref(), Ok(kept));
        }
        assert_eq!(
            tcp("SMTP.example.com:0587").as_deref(),
            Ok("smtp.example.com:587")
        );
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "example.com",
            "ftp://x",
            "https://a@b",
            "https://a?b",
            "https://",
            "https://a:0",
            "G-T https://a",
            "https://a/*/b",
        ] {
            assert!(http(text).is_err(), "{text}");
        }
        for text in ["", "smtp.example.com", "a:b", ":25", "a..b:25"] {
            assert!(tcp(text).is_err(), "{text}");
        }
        for text in ["", "/", "data", "/data/", "/a/../b", "/a//b", "/.", "/a\\b"] {
            assert!(directory(text).is_err(), "{text}");
        }
        for text in [
            "",
            "a b",
            "mail.*.x",
            "**",
            "mail/x",
            "a queue=",
            "a queue=b,",
            "a queue=b queue=c",
            "a priority=high",
            "a priority=3000000000",
            "a keys=plain",
        ] {
            assert!(push(text).is_err(), "{text}");
        }
        assert!(secret("").is_err() && secret("a b").is_err() && secret("stripe").is_ok());
    }
}
