//! Address ranges outside of the public internet, and who may reach them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range that an operator grants: `loopback`, `private`, or a CIDR block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// This machine: 127.0.0.0/8 and ::1.
    Loopback,
    /// RFC 1918 and RFC 4193 addresses.
    Private,
    /// An address and how many of its leading bits count.
    Block(IpAddr, u8),
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
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.parse() {
            Ok(bits) if bits <= most => Ok(Network::Block(address, bits)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Loopback => f.write_str("loopback"),
            Network::Private => f.write_str("private"),
            Network::Block(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}
