//! What kind of address an address is.
//!
//! The tables are IANA's registries of special addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>) and
//! what the clouds document of their metadata services. In doubt an address is special: of IPv6 only what is handed out as global
//! unicast (`2000::/3`) is public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, as it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// What to connect to.
    pub(crate) address: IpAddr,
    /// Where that leads in the end: the IPv4 address that is written inside an IPv6 address, or the address itself.
    pub(crate) inside: IpAddr,
    pub(crate) kind: Kind,
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anybody can reach it.
    Public,
    /// Only those near it can; an operator may open it. What it is, for people.
    Private(&'static str),
    /// Nobody has business there. What it is, for people.
    Never(&'static str),
}

const METADATA: Kind = Kind::Never("a metadata service");
const MULTICAST: Kind = Kind::Never("a multicast address");
const UNSPECIFIED: Kind = Kind::Never("an unspecified address");
/// An IPv4 address is hidden in it, and who unwraps it is not known.
const TRANSITION: Kind = Kind::Never("an IPv6 address that wraps an IPv4 address");
const LOOPBACK: Kind = Kind::Private("a loopback address");
const LINK_LOCAL: Kind = Kind::Private("a link-local address");
const PRIVATE: Kind = Kind::Private("a private address");
const SHARED: Kind = Kind::Private("an address shared behind a provider's NAT");
const DOCUMENTATION: Kind = Kind::Private("an address for documentation");
const BENCHMARK: Kind = Kind::Private("an address for benchmarks");
const RESERVED: Kind = Kind::Private("a reserved address");

/// Services that tell a machine its secrets.
const METADATA_V4: &[[u8; 4]] = &[
    // AWS, Azure, Google Cloud and most others.
    [169, 254, 169, 254],
    // AWS: credentials of containers, of pods; its time and DNS are as near.
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    // Azure's agent on the host, an address that looks public.
    [168, 63, 129, 16],
    // Alibaba Cloud.
    [100, 100, 100, 200],
    // Oracle Cloud.
    [192, 0, 0, 192],
    // Scaleway.
    [169, 254, 42, 42],
];

const METADATA_V6: &[Ipv6Addr] = &[
    // AWS: metadata, credentials of pods.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    // Google Cloud.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    // Scaleway.
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// First address, length, kind. The first that fits counts.
const RANGES_V4: &[([u8; 4], u32, Kind)] = &[
    ([0, 0, 0, 0], 8, UNSPECIFIED),
    ([10, 0, 0, 0], 8, PRIVATE),
    ([100, 64, 0, 0], 10, SHARED),
    ([127, 0, 0, 0], 8, LOOPBACK),
    ([169, 254, 0, 0], 16, LINK_LOCAL),
    ([172, 16, 0, 0], 12, PRIVATE),
    ([192, 0, 0, 0], 24, RESERVED),
    ([192, 0, 2, 0], 24, DOCUMENTATION),
    // Relays of 6to4, which are no more.
    ([192, 88, 99, 0], 24, RESERVED),
    ([192, 168, 0, 0], 16, PRIVATE),
    ([198, 18, 0, 0], 15, BENCHMARK),
    ([198, 51, 100, 0], 24, DOCUMENTATION),
    ([203, 0, 113, 0], 24, DOCUMENTATION),
    ([224, 0, 0, 0], 4, MULTICAST),
    ([255, 255, 255, 255], 32, MULTICAST),
    ([240, 0, 0, 0], 4, RESERVED),
];

/// First segments, length, kind. The first that fits counts.
const RANGES_V6: &[([u16; 8], u32, Kind)] = &[
    ([0; 8], 128, UNSPECIFIED),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    // IPv4-compatible; IPv4-translated (RFC 2765); NAT64 of a network's own, where the place of the IPv4 address is not known
    // (RFC 8215); Teredo; 6to4.
    ([0; 8], 96, TRANSITION),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, TRANSITION),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, TRANSITION),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, TRANSITION),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, TRANSITION),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    // Site-local addresses of old, and unique local ones.
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, PRIVATE),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, BENCHMARK),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, RESERVED),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
];

/// Judges an address.
pub(crate) fn judge(address: IpAddr) -> Judged {
    match address {
        IpAddr::V4(v4) => Judged {
            address,
            inside: address,
            kind: kind_v4(v4),
        },
        IpAddr::V6(v6) => {
            // The kernel takes a mapped address for the IPv4 address itself.
            if let Some(v4) = v6.to_ipv4_mapped() {
                return judge(IpAddr::V4(v4));
            }
            // The well-known prefix of NAT64 (RFC 6052): how an IPv6-only network reaches the IPv4 internet.
            if begins(v6, &[0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
                let [.., a, b, c, d] = v6.octets();
                let v4 = Ipv4Addr::new(a, b, c, d);
                return Judged {
                    address,
                    inside: IpAddr::V4(v4),
                    kind: kind_v4(v4),
                };
            }
            Judged {
                address,
                inside: address,
                kind: kind_v6(v6),
            }
        }
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    if METADATA_V4.contains(&address.octets()) {
        return METADATA;
    }
    let bits = address.to_bits();
    let is_in = |(first, length, _): &&([u8; 4], u32, Kind)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        bits & mask == u32::from_be_bytes(*first)
    };
    RANGES_V4
        .iter()
        .find(is_in)
        .map_or(Kind::Public, |(_, _, kind)| *kind)
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    if METADATA_V6.contains(&address) {
        return METADATA;
    }
    if let Some((_, _, kind)) = RANGES_V6
        .iter()
        .find(|(first, length, _)| begins(address, first, *length))
    {
        return *kind;
    }
    // ISATAP (RFC 5214) hides an IPv4 address behind any prefix.
    let [_, _, _, _, local, marker, _, _] = address.segments();
    if local & !0x0200 == 0 && marker == 0x5efe {
        return TRANSITION;
    }
    if begins(address, &[0x2000, 0, 0, 0, 0, 0, 0, 0], 3) {
        Kind::Public
    } else {
        RESERVED
    }
}

fn begins(address: Ipv6Addr, first: &[u16; 8], length: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    address.to_bits() & mask == Ipv6Addr::from(*first).to_bits()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(address: &str) -> Kind {
        judge(address.parse().unwrap()).kind
    }

    #[test]
    fn addresses_are_of_their_kind() {
        for (address, wanted) in [
            ("8.8.8.8", Kind::Public),
            ("172.15.255.255", Kind::Public),
            ("172.32.0.0", Kind::Public),
            ("100.63.255.255", Kind::Public),
            ("100.128.0.0", Kind::Public),
            ("198.17.255.255", Kind::Public),
            ("198.20.0.0", Kind::Public),
            ("223.255.255.255", Kind::Public),
            ("0.0.0.0", UNSPECIFIED),
            ("0.1.2.3", UNSPECIFIED),
            ("10.0.0.1", PRIVATE),
            ("100.64.0.1", SHARED),
            ("127.0.0.1", LOOPBACK),
            ("127.255.255.254", LOOPBACK),
            ("169.254.1.1", LINK_LOCAL),
            ("169.254.169.254", METADATA),
            ("169.254.170.2", METADATA),
            ("168.63.129.16", METADATA),
            ("100.100.100.200", METADATA),
            ("192.0.0.192", METADATA),
            ("172.16.0.1", PRIVATE),
            ("192.0.0.1", RESERVED),
            ("192.0.2.1", DOCUMENTATION),
            ("192.88.99.1", RESERVED),
            ("192.168.1.1", PRIVATE),
            ("198.19.255.255", BENCHMARK),
            ("198.51.100.1", DOCUMENTATION),
            ("203.0.113.1", DOCUMENTATION),
            ("224.0.0.1", MULTICAST),
            ("240.0.0.1", RESERVED),
            ("255.255.255.255", MULTICAST),
            ("2606:4700:4700::1111", Kind::Public),
            ("2001:4860:4860::8888", Kind::Public),
            ("2a00:1450::1", Kind::Public),
            ("::", UNSPECIFIED),
            ("::1", LOOPBACK),
            ("::ffff:127.0.0.1", LOOPBACK),
            ("::ffff:169.254.169.254", METADATA),
            ("::ffff:8.8.8.8", Kind::Public),
            ("::7f00:1", TRANSITION),
            ("::8.8.8.8", TRANSITION),
            ("::ffff:0:7f00:1", TRANSITION),
            ("64:ff9b::7f00:1", LOOPBACK),
            ("64:ff9b::a9fe:a9fe", METADATA),
            ("64:ff9b::808:808", Kind::Public),
            ("64:ff9b:1::7f00:1", TRANSITION),
            ("2001::1", TRANSITION),
            ("2002:7f00:1::", TRANSITION),
            ("2002:808:808::1", TRANSITION),
            ("fe80::5efe:a00:1", LINK_LOCAL),
            ("2a00:1450::5efe:a00:1", TRANSITION),
            ("2a00:1450::200:5efe:a00:1", TRANSITION),
            ("fe80::1", LINK_LOCAL),
            ("febf::1", LINK_LOCAL),
            ("fec0::1", PRIVATE),
            ("fc00::1", PRIVATE),
            ("fd12:3456::1", PRIVATE),
            ("fd00:ec2::254", METADATA),
            ("fd20:ce::254", METADATA),
            ("ff02::1", MULTICAST),
            ("100::1", RESERVED),
            ("2001:2::1", BENCHMARK),
            ("2001:10::1", RESERVED),
            ("2001:20::1", RESERVED),
            ("2001:db8::1", DOCUMENTATION),
            ("3fff::1", DOCUMENTATION),
            ("5f00::1", RESERVED),
            ("4000::1", RESERVED),
        ] {
            assert_eq!(kind(address), wanted, "{address}");
        }
    }

    #[test]
    fn a_mapped_address_is_called_as_what_it_means() {
        let judged = judge("::ffff:8.8.8.8".parse().unwrap());
        assert_eq!(judged.address, "8.8.8.8".parse::<IpAddr>().unwrap());
        let translated = judge("64:ff9b::808:808".parse().unwrap());
        assert_eq!(translated.address, "64:ff9b::808:808".parse::<IpAddr>().unwrap());
        assert_eq!(translated.inside, "8.8.8.8".parse::<IpAddr>().unwrap());
    }

    /// Every way to write an IPv4 address into an IPv6 address that somebody may unwrap.
    fn wrapped(v4: Ipv4Addr, prefix: [u16; 4]) -> [Ipv6Addr; 8] {
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let [p, q, r, s] = prefix;
        [
            v4.to_ipv6_mapped(),
            v4.to_ipv6_compatible(),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, q, r, s, high, low),
            Ipv6Addr::new(0x2002, high, low, p, q, r, s, p),
            Ipv6Addr::new(0x2001, 0, p, q, r, s, !high, !low),
            Ipv6Addr::new(p, q, r, s, 0, 0x5efe, high, low),
        ]
    }

    proptest! {
        #[test]
        fn a_special_address_is_not_public_in_any_wrapping(bits: u32, prefix: [u16; 4]) {
            let v4 = Ipv4Addr::from_bits(bits);
            if kind_v4(v4) != Kind::Public {
                for form in wrapped(v4, prefix) {
                    prop_assert_ne!(judge(IpAddr::V6(form)).kind, Kind::Public, "{} {}", v4, form);
                }
            }
        }

        #[test]
        fn what_std_knows_to_be_special_is_not_public(bits: u32, more: u128) {
            let v4 = Ipv4Addr::from_bits(bits);
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified()
            {
                prop_assert_ne!(kind_v4(v4), Kind::Public);
            }
            let v6 = Ipv6Addr::from_bits(more);
            if v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast() {
                prop_assert_ne!(kind_v6(v6), Kind::Public);
            }
        }

        #[test]
        fn private_networks_stay_private_in_any_wrapping(
            network in prop::sample::select(vec![0x0a00_0000_u32, 0x7f00_0000, 0xa9fe_0000, 0xac10_0000, 0xc0a8_0000, 0x6440_0000]),
            host in 0_u32..0x1_0000,
            prefix: [u16; 4],
        ) {
            let v4 = Ipv4Addr::from_bits(network | host);
            for form in wrapped(v4, prefix) {
                let judged = judge(IpAddr::V6(form));
                prop_assert_ne!(judged.kind, Kind::Public, "{} {}", v4, form);
                // What an operator opens is judged by what is inside, never by its wrapping.
                if let Kind::Private(_) = judged.kind {
                    prop_assert!(judged.inside == IpAddr::V4(v4) || judged.inside == IpAddr::V6(form));
                }
            }
        }
    }
}
