//! Who counts as one address: an IPv4 address, or the /56 of IPv6 that a customer is given (protocol.md
//! §5.27).

use core::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name one site.
const SITE: u32 = 56;
/// Bits that name a region of a provider, or one large customer.
const REGION: u32 = 40;

/// The address under which everybody who could have sent from this one is counted.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(within(v6, SITE).0),
    }
}

/// The first and the last address of the region that a site lies in; IPv4 has none.
pub(crate) fn region(site: IpAddr) -> Option<(IpAddr, IpAddr)> {
    let IpAddr::V6(v6) = site else {
        return None;
    };
    let (first, last) = within(v6, REGION);
    Some((IpAddr::V6(first), IpAddr::V6(last)))
}

/// The first and the last address that have these first bits in common.
fn within(address: Ipv6Addr, bits: u32) -> (Ipv6Addr, Ipv6Addr) {
    let rest = u128::MAX.checked_shr(bits).unwrap_or(0);
    let first = u128::from(address) & !rest;
    (first.into(), (first | rest).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_site_is_one_address_or_a_56() {
        let of = |text| site(address(text));
        assert_eq!(of("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:ff::2"));
        assert_ne!(of("2001:db8:0:100::1"), of("2001:db8::1"));
    }

    #[test]
    fn a_region_is_a_40() {
        let region = |text| region(address(text));
        assert_eq!(region("10.0.0.1"), None);
        assert_eq!(region("2001:db8::1"), region("2001:db8:ff:ffff::"));
        assert_ne!(region("2001:db8::1"), region("2001:db8:100::1"));
    }
}
