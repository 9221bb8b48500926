use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn to(host: &str) -> Destination {
    Destination {
        host: host.to_owned(),
        port: 80,
        named: false,
    }
}

fn named(host: &str) -> Destination {
    Destination {
        named: true,
        ..to(host)
    }
}

fn networks(texts: &[&str]) -> Vec<Network> {
    texts
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect()
}

#[test]
fn every_special_range_is_known_up_to_its_edges() {
    use AddressKind::*;
    let cases = [
        ("1.1.1.1", Public),
        ("0.0.0.0", Unspecified),
        ("0.255.255.255", Unspecified),
        ("1.0.0.0", Public),
        ("9.255.255.255", Public),
        ("10.0.0.0", Private),
        ("10.255.255.255", Private),
        ("100.63.255.255", Public),
        ("100.64.0.0", Carrier),
        ("100.127.255.255", Carrier),
        ("100.128.0.0", Public),
        ("127.0.0.1", Loopback),
        ("127.255.255.255", Loopback),
        ("169.253.255.255", Public),
        ("169.254.0.1", LinkLocal),
        ("172.15.255.255", Public),
        ("172.16.0.0", Private),
        ("172.31.255.255", Private),
        ("172.32.0.0", Public),
        ("192.0.0.1", Reserved),
        ("192.0.2.1", Documentation),
        ("192.88.99.1", Reserved),
        ("192.168.0.1", Private),
        ("198.17.255.255", Public),
        ("198.18.0.0", Benchmarking),
        ("198.19.255.255", Benchmarking),
        ("198.20.0.0", Public),
        ("198.51.100.1", Documentation),
        ("203.0.113.1", Documentation),
        ("223.255.255.255", Public),
        ("224.0.0.1", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.254", Reserved),
        ("255.255.255.255", Broadcast),
        ("::", Unspecified),
        ("::1", Loopback),
        ("2606:4700::1111", Public),
        ("100::1", Reserved),
        ("2001:2::1", Benchmarking),
        ("2001:10::1", Reserved),
        ("2001:200::1", Public),
        ("2001:db8::1", Documentation),
        ("3fff:fff::1", Documentation),
        ("4000::1", Reserved),
        ("5f00::1", Reserved),
        ("fc00::1", Private),
        ("fd12:3456::1", Private),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fec0::1", Reserved),
        ("ff02::1", Multicast),
    ];
    for (text, kind) in cases {
        assert_eq!(AddressKind::of(ip(text)), kind, "{text}");
    }
}

#[test]
fn an_embedded_ipv4_address_decides_the_kind() {
    use AddressKind::*;
    let cases = [
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:1.1.1.1", Public),
        ("::ffff:169.254.169.254", Metadata),
        ("::127.0.0.1", Loopback),
        ("::ffff:0:10.0.0.1", Private),
        ("64:ff9b::10.0.0.1", Private),
        ("64:ff9b::169.254.169.254", Metadata),
        ("64:ff9b::1.1.1.1", Public),
        ("64:ff9b:1::192.168.0.1", Private),
        ("64:ff9b:1::1.1.1.1", Reserved),
        ("2002:7f00:1::1", Loopback),
        ("2002:a9fe:a9fe::", Metadata),
        ("2002:101:101::1", Public),
        // Teredo inverts the bits: 80ff:fffe is 127.0.0.1.
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", Loopback),
        ("2001:0:4136:e378:8000:63bf:fefe:fefe", Public),
    ];
    for (text, kind) in cases {
        assert_eq!(AddressKind::of(ip(text)), kind, "{text}");
    }
}

#[test]
fn metadata_services_are_reached_only_by_block_or_by_their_own_address() {
    for text in [
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
    ] {
        let address = ip(text);
        assert_eq!(AddressKind::of(address), AddressKind::Metadata, "{text}");
        assert!(!to("a.example").may_reach(address, &networks(&["loopback", "private"])));
        assert!(!named("a.example").may_reach(address, &[]));
    }
    let metadata = ip("169.254.169.254");
    assert!(to("a.example").may_reach(metadata, &networks(&["169.254.0.0/16"])));
    assert!(named("169.254.169.254").may_reach(metadata, &[]));
    assert!(!to("169.254.169.254").may_reach(metadata, &[]));
}

#[test]
fn a_range_contains_the_addresses_of_its_prefix() {
    let holds = |network: &str, address: &str| networks(&[network])[0].contains(ip(address));
    assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
    assert!(holds("10.1.0.0/16", "::ffff:10.1.0.1"));
    assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "fe80::1"));
    assert!(holds("::/0", "fe80::1") && holds("fd00:1::/32", "fd00:1::7"));
    assert!(!holds("fd00:1::/32", "fd00:2::7"));
    assert!(holds("127.0.0.1/32", "127.0.0.1") && !holds("127.0.0.1/32", "127.0.0.2"));
    assert!(holds("loopback", "::1") && holds("loopback", "::ffff:127.9.9.9"));
    assert!(holds("private", "fd00::1") && !holds("private", "127.0.0.1"));
}

#[test]
fn a_rule_with_an_address_allows_only_that_address() {
    assert!(named("127.0.0.1").may_reach(ip("127.0.0.1"), &[]));
    assert!(named("[::1]").may_reach(ip("::1"), &[]));
    assert!(!to("127.0.0.1").may_reach(ip("127.0.0.1"), &[]));
    assert!(named("localhost").may_reach(ip("127.0.0.1"), &[]));
    assert!(named("localhost").may_reach(ip("::1"), &[]));
    assert!(!named("localhost").may_reach(ip("10.0.0.1"), &[]));
    assert!(!named("a.example").may_reach(ip("127.0.0.1"), &[]));
    assert!(to("a.example").may_reach(ip("1.1.1.1"), &[]));
}

#[test]
fn nonstandard_address_forms_are_not_hosts() {
    for host in [
        "2130706433",
        "0",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.1.1.1",
        "a.0x1",
        "a.7",
        "[::g]",
    ] {
        assert!(to(host).literal().is_err(), "{host}");
    }
    assert_eq!(to("127.0.0.1").literal(), Ok(Some(ip("127.0.0.1"))));
    assert_eq!(to("[::1]").literal(), Ok(Some(ip("::1"))));
    for host in ["example.com", "7.example", "localhost", "1e100.net"] {
        assert_eq!(to(host).literal(), Ok(None), "{host}");
    }
}
