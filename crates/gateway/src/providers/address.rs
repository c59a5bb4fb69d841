//! Addresses at which no provider may be: link-local ones and the metadata services of clouds.
//!
//! Whoever can name a provider's URL could otherwise make the gateway fetch the host's own credentials. Checked for
//! addresses in a URL, and again for what a name resolves to at the moment of connecting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside the link-local ranges.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Whether no provider may be at this address, unless its configuration allows it by name.
pub(crate) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_forbidden_v4(v4),
        IpAddr::V6(v6) => {
            let inside = v6.to_ipv4_mapped().or_else(|| embedded(v6));
            v6.is_unicast_link_local() || METADATA_V6.contains(&v6) || inside.is_some_and(is_forbidden_v4)
        }
    }
}

fn is_forbidden_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local() || METADATA_V4.contains(&v4)
}

/// The IPv4 address inside an IPv6 one: compatible (`::/96`), translated (`::ffff:0:0:0/96`, RFC 2765; `64:ff9b::/96`,
/// RFC 6052; `64:ff9b:1::/48`, RFC 8215, at its end) or of 6to4 (`2002::/16`, RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let at = match s {
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => 6,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => 6,
        [0x2002, ..] => 1,
        _ => return None,
    };
    let [a, b] = s[at].to_be_bytes();
    let [c, d] = s[at + 1].to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether the host of a URL is such an address or a name that is known to mean one.
pub(crate) fn is_forbidden_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    match bare.parse::<IpAddr>() {
        Ok(address) => is_forbidden(address),
        Err(_) => {
            ["metadata.google.internal", "metadata.goog", "metadata"].iter().any(|m| bare.eq_ignore_ascii_case(m))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_forbidden_in_every_spelling() {
        for host in [
            "169.254.169.254",
            "169.254.0.1",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[::ffff:0:a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "168.63.129.16",
            "100.100.100.200",
            "Metadata.Google.Internal.",
        ] {
            assert!(is_forbidden_host(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "[::1]",
            "api.openai.com",
            "100.100.100.201",
            "[2001:db8::1]",
            "[2002:a00:1::1]",
            "[64:ff9b::a00:1]",
        ] {
            assert!(!is_forbidden_host(host), "{host}");
        }
    }
}
