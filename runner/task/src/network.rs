//! Address ranges outside the public internet, and access to them.
//!
//! A host name does not determine where it leads, so every address that a name resolves to is
//! checked here. Uses only `core::net`: values, no sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// A range that an operator grants: `loopback`, `private`, or a CIDR block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// This machine: 127.0.0.0/8 and ::1.
    Loopback,
    /// RFC 1918 and RFC 4193 addresses.
    Private,
    /// A CIDR block.
    Block(IpNet),
}

impl Network {
    /// Whether the range contains an address, or the IPv4 address embedded in it. The keywords
    /// `loopback` and `private` never include a metadata service.
    pub fn contains(self, address: IpAddr) -> bool {
        match self {
            Network::Loopback => AddressKind::of(address) == AddressKind::Loopback,
            Network::Private => AddressKind::of(address) == AddressKind::Private,
            Network::Block(block) => {
                let inside = embedded(address).map(IpAddr::V4);
                block.contains(&address) || inside.is_some_and(|inside| block.contains(&inside))
            }
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => return Ok(Network::Loopback),
            "private" => return Ok(Network::Private),
            _ => {}
        }
        let wrong = || {
            format!("`{text}` is not a network; write \"loopback\", \"private\" or \"10.1.0.0/16\"")
        };
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits.parse().map_err(|_| wrong())?;
        let block = IpNet::new(address, bits).map_err(|_| wrong())?;
        Ok(Network::Block(block))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Loopback => f.write_str("loopback"),
            Network::Private => f.write_str("private"),
            Network::Block(block) => block.fmt(f),
        }
    }
}

/// The purpose of an address, by IANA's special-purpose address registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// The internet.
    Public,
    /// This machine.
    Loopback,
    /// RFC 1918 and RFC 4193.
    Private,
    /// 169.254.0.0/16, fe80::/10: link-local.
    LinkLocal,
    /// 100.64.0.0/10: carrier-grade NAT.
    Carrier,
    /// 0.0.0.0/8 and ::, which many systems treat as the local host.
    Unspecified,
    /// A multicast group.
    Multicast,
    /// All hosts on the link.
    Broadcast,
    /// Reserved for documentation.
    Documentation,
    /// Reserved for benchmarks.
    Benchmarking,
    /// All other addresses that are not globally routed.
    Reserved,
    /// A metadata service, which gives the credentials of a cloud machine to any client on it.
    Metadata,
}

/// Metadata services of the large clouds, and other cloud services that listen inside every
/// machine: AWS and most others, Alibaba, Oracle, Azure's host, and the task and pod credentials
/// of AWS.
const METADATA_V4: [[u8; 4]; 6] = [
    [169, 254, 169, 254],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [168, 63, 129, 16],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
];

/// The same for IPv6: fd00:ec2::254 and ::23 (AWS), fd20:ce::254 (Google).
const METADATA_V6: [[u16; 8]; 3] = [
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
];

impl AddressKind {
    /// Classifies an address. An address with an embedded IPv4 address is classified by the
    /// latter, since traffic goes there.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let octets = address.octets();
        if METADATA_V4.contains(&octets) {
            return AddressKind::Metadata;
        }
        match octets {
            [0, ..] => AddressKind::Unspecified,
            [127, ..] => AddressKind::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressKind::Private,
            [169, 254, ..] => AddressKind::LinkLocal,
            [100, 64..=127, ..] => AddressKind::Carrier,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressKind::Documentation,
            [198, 18..=19, ..] => AddressKind::Benchmarking,
            // Protocol assignments, and the former 6to4 relays.
            [192, 0, 0, _] | [192, 88, 99, _] => AddressKind::Reserved,
            [255, 255, 255, 255] => AddressKind::Broadcast,
            [224..=239, ..] => AddressKind::Multicast,
            [240..=255, ..] => AddressKind::Reserved,
            _ => AddressKind::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        if METADATA_V6.contains(&segments) {
            return AddressKind::Metadata;
        }
        if let Some(inside) = embedded(IpAddr::V6(address)) {
            return match Self::of_v4(inside) {
                // The target of a local translator is unknown.
                AddressKind::Public if is_local_nat64(address) => AddressKind::Reserved,
                kind => kind,
            };
        }
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
            [0xfc00..=0xfdff, ..] => AddressKind::Private,
            [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
            [0xff00..=0xffff, ..] => AddressKind::Multicast,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressKind::Documentation,
            [0x2001, 2, 0, ..] => AddressKind::Benchmarking,
            [0x2001, 0..=0x1ff, ..] => AddressKind::Reserved,
            // The only globally routed block.
            [0x2000..=0x3fff, ..] => AddressKind::Public,
            _ => AddressKind::Reserved,
        }
    }

    /// For use in a sentence: `a loopback address`.
    pub fn as_str(self) -> &'static str {
        match self {
            AddressKind::Public => "a public address",
            AddressKind::Loopback => "a loopback address",
            AddressKind::Private => "a private address",
            AddressKind::LinkLocal => "a link-local address",
            AddressKind::Carrier => "a carrier's internal address",
            AddressKind::Unspecified => "the unspecified address",
            AddressKind::Multicast => "a multicast address",
            AddressKind::Broadcast => "the broadcast address",
            AddressKind::Documentation => "an address for documentation",
            AddressKind::Benchmarking => "an address for benchmarks",
            AddressKind::Reserved => "a reserved address",
            AddressKind::Metadata => "the metadata service of a cloud",
        }
    }
}

/// 64:ff9b:1::/48, for translators inside one network.
fn is_local_nat64(address: Ipv6Addr) -> bool {
    address.segments()[..3] == [0x64, 0xff9b, 1]
}

/// The IPv4 address embedded in an IPv6 address.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let low = address.to_bits() as u32;
    let inside = match address.segments() {
        // `::` and `::1` embed nothing.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        // Compatible, mapped, and translated.
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        // NAT64, well-known and local prefix.
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..] => low,
        // 6to4.
        [0x2002, high, next, ..] => (u32::from(high) << 16) | u32::from(next),
        // Teredo: the client's address with every bit inverted.
        [0x2001, 0, ..] => !low,
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(inside))
}

/// The target of a connection that some granted rule allows, before its name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// In the form of [`pgtq_contract::host()`].
    pub host: String,
    /// Which port.
    pub port: u16,
    /// Whether a granted rule names this exact host, as opposed to a group of hosts that
    /// contains it.
    pub named: bool,
}

impl Destination {
    /// The address, if the host is an address literal. The error explains a host in a
    /// non-standard address form: resolvers parse `0x7f.1`, `0177.0.0.1`, `2130706433` and `0`
    /// as addresses, and humans do not.
    pub fn literal(&self) -> Result<Option<IpAddr>, String> {
        let host = self.host.as_str();
        if let Some(inside) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            let address: Result<Ipv6Addr, _> = inside.parse();
            return address
                .map(|address| Some(address.into()))
                .map_err(|_| format!("`{host}` is not an IPv6 address"));
        }
        let last = host.rsplit('.').next().unwrap_or(host);
        let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return Ok(None);
        }
        let address: Result<Ipv4Addr, _> = host.parse();
        address.map(|address| Some(address.into())).map_err(|_| {
            format!("`{host}` is not a host: write an IPv4 address as four decimal numbers")
        })
    }

    /// Whether the connection may go to an address. The rules alone open the public internet;
    /// every other address must be granted by a range, or by a rule that names the address
    /// itself (or `localhost`).
    pub fn may_reach(&self, address: IpAddr, networks: &[Network]) -> bool {
        let kind = AddressKind::of(address);
        let named = self.named
            && (self.literal() == Ok(Some(address))
                || self.host == "localhost" && kind == AddressKind::Loopback);
        kind == AddressKind::Public
            || named
            || networks.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests;
