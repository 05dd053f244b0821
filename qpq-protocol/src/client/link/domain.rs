//! Which server an account is for: the domain that the user means, not the one that a server claims
//! (protocol.md §5.15).
//!
//! It is given with the name, as in `alice@example.org`; without that it is the host name of the
//! server that the client was told to use. An address is no name, but that of this machine is
//! `localhost`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name and domain of `alice@example.org`; no domain in `alice`.
pub(in crate::client) fn split(address: &str) -> (&str, Option<&str>) {
    match address.split_once('@') {
        Some((name, domain)) => (name, Some(domain)),
        None => (address, None),
    }
}

/// The host name in `host:port`, `None` if the host is given by its address.
pub(super) fn of_server(server: &str) -> Option<&str> {
    const THIS_MACHINE: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host).parse() {
        Ok(address) if THIS_MACHINE.contains(&address) => Some("localhost"),
        Ok(_) => None,
        Err(_) => Some(host).filter(|host| !host.is_empty()),
    }
}

/// Whether both name the same server: domains have no case.
pub(in crate::client) fn is_same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_comes_from_the_name_or_the_host() {
        assert_eq!(split("alice"), ("alice", None));
        assert_eq!(split("alice@example.org"), ("alice", Some("example.org")));
        assert_eq!(split("alice@"), ("alice", Some("")));
        assert_eq!(split("a@b@c"), ("a", Some("b@c")));
        for (server, domain) in [
            ("example.org:5001", Some("example.org")),
            ("example.org", Some("example.org")),
            ("127.0.0.1:5001", Some("localhost")),
            ("[::1]:5001", Some("localhost")),
            ("192.0.2.7:5001", None),
            ("[2001:db8::7]:5001", None),
            (":5001", None),
            ("", None),
        ] {
            assert_eq!(of_server(server), domain, "{server}");
        }
        assert!(is_same("Example.org", "example.org") && !is_same("a.org", "b.org"));
    }
}
