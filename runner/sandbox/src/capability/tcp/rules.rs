//! The destinations that one attempt may connect to. The guest's socket uses addresses,
//! rules use names: so the results of name lookups are recorded, and an address may be
//! reached under the names that resolved to it, or under its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::attempt::access::Access;
use crate::attempt::denied::Denied;
use crate::net::error::NetError;
use pgtq_task::{AddressKind, Destination, PortRule, TcpRule};

/// Denials that one attempt logs; for further ones only the guest gets an error.
const MAX_LOGGED: usize = 20;

/// The lookups of one attempt so far. A name is resolved once.
#[derive(Default)]
pub(crate) struct LookedUp {
    answers: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, Vec<String>>,
    logged: BTreeSet<String>,
}

impl LookedUp {
    /// The addresses that a name resolved to.
    pub(crate) fn answer(&self, host: &str) -> Option<&[IpAddr]> {
        self.answers.get(host).map(Vec::as_slice)
    }

    /// Records the addresses that a name resolved to.
    pub(crate) fn learn(&mut self, host: &str, addresses: Vec<IpAddr>) {
        for address in &addresses {
            let names = self.names.entry(*address).or_default();
            names.push(host.to_owned());
        }
        self.answers.insert(host.to_owned(), addresses);
    }

    /// Whether to log a denial: each once, and not too many.
    pub(crate) fn should_log(&mut self, what: &str) -> bool {
        self.logged.len() < MAX_LOGGED && self.logged.insert(what.to_owned())
    }

    /// Whether a connection to this address is allowed, and if not, what to write where.
    pub(crate) fn check(&self, access: &Access, to: SocketAddr) -> Result<(), Denied> {
        let (address, port) = (to.ip().to_canonical(), to.port());
        let literal = literal(address);
        let names = self.names.get(&address).into_iter().flatten();
        let hosts: Vec<&String> = names.chain([&literal]).collect();
        for host in &hosts {
            let destination = destination(access, host, port);
            if destination.is_some_and(|d| d.may_reach(address, &access.grant().networks)) {
                return Ok(());
            }
        }
        // Operators know the name rather than the address.
        let host = hosts[0];
        let prohibited = prohibited(access, host, address);
        let is_unspeakable =
            prohibited.grant.is_none() && AddressKind::of(address) != AddressKind::Public;
        if is_unspeakable || destination(access, host, port).is_some() {
            return Err(prohibited);
        }
        Err(missing_rule(access, host, Some(port)))
    }
}

/// The host in a connection that the handler requests and that is granted.
fn destination(access: &Access, host: &str, port: u16) -> Option<Destination> {
    let meant = |rule: &&TcpRule| rule.host.allows(host) && rule.port.allows(port);
    access.needs().tcp.iter().find(meant)?;
    let mut granted = access.grant().tcp.iter().filter(meant).peekable();
    granted.peek()?;
    Some(Destination {
        host: host.to_owned(),
        port,
        named: granted.any(|rule| rule.host.is_exact()),
    })
}

/// An error for a host that resolvers parse as an address although it does not look like
/// one: no message may suggest it as a rule.
pub(crate) fn is_written_well(host: &str) -> Result<(), String> {
    let host = host.to_owned();
    let destination = Destination {
        host,
        port: 0,
        named: false,
    };
    destination.literal().map(drop)
}

/// The host in a lookup: for a connection to any port.
pub(crate) fn looked_up(access: &Access, host: &str) -> Result<Destination, Denied> {
    let meant = |rule: &&TcpRule| rule.host.allows(host);
    if !access.needs().tcp.iter().any(|rule| meant(&rule)) {
        return Err(missing_rule(access, host, None));
    }
    let mut granted = access.grant().tcp.iter().filter(meant).peekable();
    if granted.peek().is_none() {
        return Err(missing_rule(access, host, None));
    }
    Ok(Destination {
        host: host.to_owned(),
        port: 0,
        named: granted.any(|rule| rule.host.is_exact()),
    })
}

/// What the side, or both sides, that do not name a host must write.
fn missing_rule(access: &Access, host: &str, port: Option<u16>) -> Denied {
    let meant =
        |rule: &TcpRule| rule.host.allows(host) && port.is_none_or(|port| rule.port.allows(port));
    let rule = match port {
        Some(port) => format!("{host}:{port}"),
        None => format!("{host}:PORT"),
    };
    // Rules must not be duplicated.
    let granted = access.grant().tcp.iter().map(TcpRule::to_string);
    let rules: Vec<String> = granted
        .chain([rule.clone()])
        .map(|rule| format!("\"{rule}\""))
        .collect();
    let is_asked = access.needs().tcp.iter().any(meant);
    let is_granted = access.grant().tcp.iter().any(meant);
    Denied {
        what: match port {
            Some(_) => format!("connecting to {rule}"),
            None => format!("looking up {host}"),
        },
        need: (!is_asked).then(|| format!("tcp = \"{rule}\"")),
        grant: (!is_granted).then(|| format!("tcp = [{}]", rules.join(", "))),
    }
}

/// An address that no rule alone allows.
fn prohibited(access: &Access, host: &str, address: IpAddr) -> Denied {
    let error = NetError::Prohibited {
        host: host.to_owned(),
        address,
        kind: AddressKind::of(address),
    };
    resolves_to_denied(access, &error)
}

/// The message for a name that resolves to a denied address.
pub(crate) fn resolves_to_denied(access: &Access, error: &NetError) -> Denied {
    Denied {
        what: format!("a connection: {error}"),
        need: None,
        grant: error.grant(&access.grant().networks),
    }
}

/// Whether any connection is both requested and granted. Without one a guest has no use
/// for a socket.
pub(crate) fn any_connection(access: &Access) -> Result<(), Denied> {
    let asked = &access.needs().tcp;
    let mut granted = access.grant().tcp.iter();
    if granted.any(|granted| asked.iter().any(|asked| asked.overlaps(granted))) {
        return Ok(());
    }
    // The host is not known yet: suggest what the handler requests by name.
    let named = asked
        .iter()
        .filter(|rule| rule.host.is_exact() && rule.port != PortRule::Any);
    let mut missing: Vec<String> = named.map(TcpRule::to_string).collect();
    if missing.is_empty() {
        missing.push("HOST:PORT".to_owned());
    }
    let granted = access.grant().tcp.iter().map(TcpRule::to_string);
    let rules: Vec<String> = granted.chain(missing).collect();
    // With a grant and without a need, the need is missing.
    let is_missing = !asked.is_empty() || access.grant().tcp.is_empty();
    let rules: Vec<String> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
    Err(Denied {
        what: "a TCP socket".to_owned(),
        need: asked.is_empty().then(|| "tcp = \"HOST:PORT\"".to_owned()),
        grant: is_missing.then(|| format!("tcp = [{}]", rules.join(", "))),
    })
}

/// For a handler that requests nothing.
pub(crate) fn nothing_asked(host: &str) -> Denied {
    Denied {
        what: format!("a connection to {host}"),
        need: Some(format!("tcp = \"{host}:PORT\"")),
        grant: Some(format!("tcp = [\"{host}:PORT\"]")),
    }
}

/// An address as a host in the syntax of rules.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
