//! Addresses at which no provider may be: link-local ones and the metadata services of clouds.
//!
//! Whoever can name a provider's URL could otherwise make the gateway fetch the host's own credentials. Checked for
//! addresses in a URL, and again for what a name resolves to at the moment of connecting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside the link-local ranges.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 1] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)];

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

/// The IPv4 address inside a translated one (64:ff9b::/96, RFC 6052) or a compatible one.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let prefix = (s[0], s[1]);
    let translated = (prefix == (0x64, 0xff9b) || prefix == (0, 0)) && s[2..6] == [0, 0, 0, 0];
    let [a, b] = s[6].to_be_bytes();
    let [c, d] = s[7].to_be_bytes();
    translated.then(|| Ipv4Addr::new(a, b, c, d))
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
            "[fd00:ec2::254]",
            "100.100.100.200",
            "Metadata.Google.Internal.",
        ] {
            assert!(is_forbidden_host(host), "{host}");
        }
        for host in ["127.0.0.1", "10.0.0.1", "[::1]", "api.openai.com", "100.100.100.201", "[2001:db8::1]"] {
            assert!(!is_forbidden_host(host), "{host}");
        }
    }
}
