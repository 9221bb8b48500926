//! Where one attempt may connect to. The guest's socket knows addresses, rules
//! speak of names: so what a name resolved to is remembered, and an address may
//! be reached under the names that led to it, or under its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::sandbox::access::{Access, Denied};
use crate::sandbox::net::NetError;
use crate::task::{AddressKind, Destination, TcpRule};

/// Denials that one attempt logs; a guest that goes on trying is told, nobody else.
const TOLD: usize = 20;

/// What one attempt found out so far. A name is resolved once.
#[derive(Default)]
pub(super) struct Reach {
    answers: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, Vec<String>>,
    told: BTreeSet<String>,
}

impl Reach {
    /// What a name resolved to.
    pub(super) fn answer(&self, host: &str) -> Option<&[IpAddr]> {
        self.answers.get(host).map(Vec::as_slice)
    }

    /// Remembers what a name resolved to.
    pub(super) fn learn(&mut self, host: &str, addresses: Vec<IpAddr>) {
        for address in &addresses {
            let names = self.names.entry(*address).or_default();
            names.push(host.to_owned());
        }
        self.answers.insert(host.to_owned(), addresses);
    }

    /// Whether a denial is to be logged: each once, and not too many.
    pub(super) fn is_news(&mut self, what: &str) -> bool {
        self.told.len() < TOLD && self.told.insert(what.to_owned())
    }

    /// Whether a connection may go there, and if not, what to write where.
    pub(super) fn check(&self, access: &Access, to: SocketAddr) -> Result<(), Denied> {
        let literal = literal(to.ip());
        let names = self.names.get(&to.ip()).into_iter().flatten();
        for host in names.chain([&literal]) {
            let destination = destination(access, host, to.port());
            if destination.is_some_and(|d| d.may_reach(to.ip(), &access.grant.networks)) {
                return Ok(());
            }
        }
        // A person knows the name rather than the address.
        let names = self.names.get(&to.ip()).into_iter().flatten();
        let host = names.chain([&literal]).next().unwrap_or(&literal);
        Err(match destination(access, host, to.port()) {
            Some(_) => prohibited(access, host, to.ip()),
            None => not_both(
                access,
                &format!("connecting to {host}"),
                host,
                &to.port().to_string(),
            ),
        })
    }
}

/// The host in a connection that the handler asks for and that is granted.
fn destination(access: &Access, host: &str, port: u16) -> Option<Destination> {
    let meant = |rule: &&TcpRule| rule.host.allows(host) && rule.port.allows(port);
    access.needs().tcp.iter().find(meant)?;
    let mut granted = access.grant.tcp.iter().filter(meant).peekable();
    granted.peek()?;
    Some(Destination {
        host: host.to_owned(),
        port,
        named: granted.any(|rule| rule.host.is_exact()),
    })
}

/// The host in a lookup: for a connection to whatever port.
pub(super) fn looked_up(access: &Access, host: &str) -> Result<Destination, Denied> {
    let meant = |rule: &&TcpRule| rule.host.allows(host);
    let asked = access.needs().tcp.iter().any(|rule| meant(&rule));
    let granted = access.grant.tcp.iter().any(|rule| meant(&rule));
    if !asked || !granted {
        let what = format!("looking up {host}");
        return Err(not_both(access, &what, host, "PORT"));
    }
    let mut granted = access.grant.tcp.iter().filter(meant);
    Ok(Destination {
        host: host.to_owned(),
        port: 0,
        named: granted.any(|rule| rule.host.is_exact()),
    })
}

fn not_both(access: &Access, what: &str, host: &str, port: &str) -> Denied {
    let meant = |rule: &TcpRule| {
        rule.host.allows(host) && port.parse().map_or(true, |port| rule.port.allows(port))
    };
    let rule = format!("\"{host}:{port}\"");
    let asked = access.needs().tcp.iter().any(meant);
    let granted = access.grant.tcp.iter().any(meant);
    let mut rules: Vec<String> = access
        .grant
        .tcp
        .iter()
        .map(|r| format!("\"{r}\""))
        .collect();
    rules.push(rule.clone());
    Denied {
        what: match port {
            "PORT" => what.to_owned(),
            port => format!("{what}:{port}"),
        },
        need: (!asked).then(|| format!("tcp = {rule}")),
        grant: (!granted).then(|| format!("tcp = [{}]", rules.join(", "))),
    }
}

/// An address that no rule alone opens.
fn prohibited(access: &Access, host: &str, address: IpAddr) -> Denied {
    let error = NetError::Prohibited {
        host: host.to_owned(),
        address,
        kind: AddressKind::of(address),
    };
    led_astray(access, &error)
}

/// What to say of a name that leads where the attempt must not go.
pub(super) fn led_astray(access: &Access, error: &NetError) -> Denied {
    Denied {
        what: format!("a connection: {error}"),
        need: None,
        grant: error.grant(&access.grant.networks),
    }
}

/// For a handler that asks for nothing at all.
pub(super) fn nothing_asked(host: &str) -> Denied {
    Denied {
        what: format!("a connection to {host}"),
        need: Some(format!("tcp = \"{host}:PORT\"")),
        grant: Some(format!("tcp = [\"{host}:PORT\"]")),
    }
}

/// An address as a host in the form of rules.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
