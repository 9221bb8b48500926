//! Compares the needs of a handler with the grant of its plugin.

use pgtq_contract::{Coverage, HostRule, Needs, cover, cover_http};

use crate::grant::Grant;

/// One requested capability, and how much of it is granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantReport {
    /// Which capability: `http`, `tcp`, `sql`, `secret`, `files` or `push`.
    pub need: &'static str,
    /// The rule, name or directory; empty for SQL.
    pub what: String,
    /// How much of it is granted.
    pub cover: Coverage,
}

impl GrantReport {
    /// All requested capabilities, each with its coverage.
    pub fn all(needs: &Needs, grant: &Grant) -> Vec<GrantReport> {
        let asked = |need, what: String, cover| GrantReport { need, what, cover };
        let whether = |granted| match granted {
            true => Coverage::Full,
            false => Coverage::None,
        };
        let http = needs
            .http
            .iter()
            .map(|rule| asked("http", rule.to_string(), cover_http(&grant.http, rule)));
        let tcp = needs
            .tcp
            .iter()
            .map(|rule| asked("tcp", rule.to_string(), cover(&grant.tcp, rule)));
        let sql = needs
            .sql
            .then(|| asked("sql", String::new(), whether(grant.sql.is_some())));
        let secrets = needs.secrets.iter().map(|name| {
            let granted = grant.secrets.contains_key(name);
            asked("secret", name.clone(), whether(granted))
        });
        let files = needs.files.iter().map(|dir| {
            let granted = grant.files.keys().any(|known| same_dir(known, dir));
            asked("files", dir.clone(), whether(granted))
        });
        let push = needs
            .push
            .iter()
            .map(|rule| asked("push", rule.to_string(), cover(&grant.push, rule)));
        http.chain(tcp)
            .chain(sql)
            .chain(secrets)
            .chain(files)
            .chain(push)
            .collect()
    }
}

/// The lines of `pgtq.toml` that grant `plugin` what `grant` lacks, including what it
/// already grants. Capitals mark values that only the operator knows. Partly granted
/// capabilities are left alone: a plugin may request any host, and the operator decides
/// which hosts it gets. Empty if nothing is missing.
pub fn missing_grants(needs: &Needs, plugin: &str, grant: &Grant) -> String {
    let missing: Vec<GrantReport> = GrantReport::all(needs, grant)
        .into_iter()
        .filter(|asked| asked.cover == Coverage::None)
        .collect();
    if missing.is_empty() {
        return String::new();
    }
    let of = |need: &str| -> Vec<&str> {
        let of = missing.iter().filter(|asked| asked.need == need);
        of.map(|asked| asked.what.as_str()).collect()
    };
    let mut lines = vec![format!("[grants.{}]", toml_key(plugin))];
    lines.extend(list("http", &grant.http, &of("http"), "hosts"));
    lines.extend(list("tcp", &grant.tcp, &of("tcp"), "hosts"));
    if !of("sql").is_empty() {
        lines.push("sql = \"ROLE\"".to_owned());
    }
    for name in of("secret") {
        let key = toml_key(name);
        let how = match exact_hosts(needs) {
            // Using it in a header is sufficient for requests; reading the value is a wider
            // right.
            hosts if hosts.is_empty() && !needs.http.is_empty() => "hosts = [\"HOST\"]".to_owned(),
            hosts if hosts.is_empty() => "read = true".to_owned(),
            hosts => format!("hosts = [{}]", hosts.join(", ")),
        };
        lines.push(format!(
            "secrets.{key} = {{ {how} }}   # its value: env or file below [secrets.{key}]"
        ));
    }
    for dir in of("files") {
        lines.push(format!("files.{} = \"DIRECTORY\"", toml_key(dir)));
    }
    lines.extend(list("push", &grant.push, &of("push"), "handlers"));
    lines.join("\n") + "\n"
}

/// The exact hosts of its requests: a secret is usually meant for them.
fn exact_hosts(needs: &Needs) -> Vec<String> {
    let exact = needs.http.iter().filter_map(|rule| match &rule.host {
        HostRule::Exactly(host) => Some(quoted(host)),
        _ => None,
    });
    let mut hosts: Vec<String> = exact.collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Whether two guest paths mean the same directory: `/data/` is `/data`.
fn same_dir(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// `key = [...]` including the existing grants: a key may occur only once.
fn list<R: ToString>(key: &str, granted: &[R], missing: &[&str], things: &str) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let granted = granted.iter().map(|rule| quoted(&rule.to_string()));
    // A pasted line must not grant a plugin all hosts.
    let concrete = |rule: &str| match things {
        "hosts" => without_stars(rule),
        _ => rule.to_owned(),
    };
    let wide: Vec<&str> = missing
        .iter()
        .copied()
        .filter(|rule| concrete(rule) != *rule)
        .collect();
    let hint = match wide.is_empty() {
        true if missing.iter().any(|rule| rule.contains('*')) => {
            format!("   # or only the {things} that you mean")
        }
        true => String::new(),
        false => format!("   # the plugin declares {}", wide.join(", ")),
    };
    let missing = missing.iter().map(|rule| quoted(&concrete(rule)));
    let all: Vec<String> = granted.chain(missing).collect();
    Some(format!("{key} = [{}]{hint}", all.join(", ")))
}

/// A rule with HOST and PORT in place of wildcards: only the operator knows the values, and a
/// rule that contains them does not parse.
fn without_stars(rule: &str) -> String {
    let (start, rest) = match rule.find("://") {
        Some(at) => rule.split_at(at + 3),
        None => ("", rule),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = if host.starts_with('*') { "HOST" } else { host };
    match port {
        Some("*") => format!("{start}{host}:PORT{path}"),
        Some(port) => format!("{start}{host}:{port}{path}"),
        None => format!("{start}{host}{path}"),
    }
}

/// A name as a TOML key, quoted if necessary.
pub fn toml_key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !name.is_empty() && name.bytes().all(bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A TOML string. JSON's quoting is valid in TOML.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The requests of all handlers of one plugin, for display and for other programs.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PluginGrantReport {
    /// Number of requested capabilities.
    pub asked: usize,
    /// Number of fully granted capabilities.
    pub granted: usize,
    /// The partly granted ones, at most [`MAX_REFUSED`]: `http https://*`.
    pub partly: Vec<String>,
    /// The denied ones, at most [`MAX_REFUSED`].
    pub refused: Vec<String>,
    /// The lines of `pgtq.toml` that would grant the denied ones. Empty if nothing is missing,
    /// or if there are too many to paste.
    pub toml: String,
}

/// Maximum denied capabilities in the list of one plugin; the counts are complete.
pub const MAX_REFUSED: usize = 50;
/// Maximum bytes of lines to paste. Every beat of a runner contains them.
const MAX_TOML: usize = 8 << 10;

impl PluginGrantReport {
    /// Summarises the needs of a plugin's handlers. `None` if they have none.
    pub fn of<'a>(
        plugin: &str,
        needs: impl IntoIterator<Item = &'a Needs>,
        grant: &Grant,
    ) -> Option<PluginGrantReport> {
        let needs: Needs = needs.into_iter().collect();
        let all = GrantReport::all(&needs, grant);
        if all.is_empty() {
            return None;
        }
        let of = |cover| all.iter().filter(move |asked| asked.cover == cover);
        let told = |cover| {
            of(cover)
                .take(MAX_REFUSED)
                .map(GrantReport::to_string)
                .collect()
        };
        Some(PluginGrantReport {
            asked: all.len(),
            granted: of(Coverage::Full).count(),
            partly: told(Coverage::Partial),
            refused: told(Coverage::None),
            toml: Some(missing_grants(&needs, plugin, grant))
                .filter(|toml| toml.len() <= MAX_TOML)
                .unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for GrantReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.need)?;
        if !self.what.is_empty() {
            write!(f, " {}", self.what)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
