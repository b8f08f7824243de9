//! Hashes that every worker, every process and every host agrees on, and what they are taken of.
//!
//! FNV-1a (64 bits), then the finaliser of SplitMix64, because the high bits of FNV-1a hardly depend on the last bytes.
//! No seed: two ingresses in front of the same group send a key to the same endpoint. So whoever chooses keys can
//! choose them for one endpoint; bounded load is the answer to that (see [`super::Balancer`]).

use std::net::IpAddr;

use crate::config::group::HashKey;
use crate::proxy::mix::mix;
use crate::proxy::source::Source;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of `bytes`.
#[must_use]
pub fn of(bytes: &[u8]) -> u64 {
    mix(fnv(FNV_OFFSET, bytes))
}

/// The hash of a member: what its keys are drawn to, and what a sticky cookie names. Taken of the group's name and of
/// the endpoint's label, with a zero byte between them.
#[must_use]
pub fn of_member(group: &str, label: &str) -> u64 {
    let state = fnv(FNV_OFFSET, group.as_bytes());
    mix(fnv(fnv(state, &[0]), label.as_bytes()))
}

/// The hash of what the group's operator chose; `None` where the request does not have it, or has it empty.
#[must_use]
pub fn key(key: &HashKey, client: IpAddr, source: Source<'_>) -> Option<u64> {
    match key {
        HashKey::Client => Some(match client.to_canonical() {
            IpAddr::V4(ip) => of(&ip.octets()),
            IpAddr::V6(ip) => of(&ip.octets()),
        }),
        HashKey::Header(name) => field(source, name).filter(|value| !value.is_empty()).map(of),
        HashKey::Cookie(name) => cookie(source, name).filter(|value| !value.is_empty()).map(of),
    }
}

/// The value of the first field of this name.
fn field<'a>(source: Source<'a>, name: &str) -> Option<&'a [u8]> {
    let found = |name_sent: &[u8]| name_sent.eq_ignore_ascii_case(name.as_bytes());
    let field = source.fields.iter().find(|field| found(field.name.of(source.bytes)))?;
    Some(field.value.of(source.bytes))
}

/// The value of the first cookie of this name (RFC 6265 §5.4: `a=b; c=d`; in HTTP/2 each may have a field of its own).
/// Names of cookies have case.
#[must_use]
pub fn cookie<'a>(source: Source<'a>, name: &str) -> Option<&'a [u8]> {
    let is_cookie = |name: &[u8]| name.eq_ignore_ascii_case(b"cookie");
    let fields = source.fields.iter().filter(|field| is_cookie(field.name.of(source.bytes)));
    let pairs = fields.flat_map(|field| field.value.of(source.bytes).split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value)
    })
}

/// `member`'s claim to `key` under rendezvous hashing: the highest has it. Of a group, each key goes to a member in
/// proportion to its weight, and only the keys of a member that goes away move (Thaler, Ravishankar 1998; the weights
/// after Schindelhauer, Schomaker 2005).
pub(super) fn claim(key: u64, member: u64, weight: u32) -> f64 {
    // 53 bits, moved off zero: strictly between 0 and 1, so the logarithm is finite and below zero.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    let uniform = ((mix(key ^ member) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / uniform.ln()
}

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::balance::tests::Head;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn is_fnv_1a_below_the_finaliser() {
        // Vectors of draft-eastlake-fnv.
        assert_eq!(fnv(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
        // The first output of SplitMix64 from state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn a_member_is_its_group_and_its_label() {
        assert_ne!(of_member("ab", "c"), of_member("a", "bc"));
        assert_eq!(of_member("app", "10.0.0.1:80"), of(b"app\x0010.0.0.1:80"));
    }

    #[test]
    fn keys_are_found() {
        let head = Head::new(&[
            ("Cookie", "a=1; user=ann;b=2"),
            ("X-Tenant", "acme"),
            ("x-tenant", "other"),
            ("X-Empty", ""),
            ("cookie", "late=3; User=bob; user=eve; bare; void="),
        ]);
        let hash = |chosen: HashKey| key(&chosen, CLIENT, head.source());
        let header = |name: &str| hash(HashKey::Header(name.into()));
        let cookie = |name: &str| hash(HashKey::Cookie(name.into()));
        assert_eq!(header("x-tenant"), Some(of(b"acme")), "the first one, in any case");
        assert_eq!((header("x-empty"), header("x-none")), (None, None));
        assert_eq!(
            (cookie("user"), cookie("late"), cookie("b")),
            (Some(of(b"ann")), Some(of(b"3")), Some(of(b"2")))
        );
        assert_eq!(cookie("User"), Some(of(b"bob")), "names have case");
        assert_eq!((cookie("bare"), cookie("void"), cookie("use"), cookie("er")), (None, None, None, None));
    }

    #[test]
    fn a_client_is_its_address_however_it_is_written() {
        let head = Head::new(&[]);
        let hash = |client: &str| key(&HashKey::Client, client.parse().unwrap(), head.source());
        assert_eq!(hash("192.0.2.7"), Some(of(&[192, 0, 2, 7])));
        assert_eq!(hash("192.0.2.7"), hash("::ffff:192.0.2.7"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8::2"));
    }
}
