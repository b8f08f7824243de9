//! A keyed hash of what counts as one: SipHash-2-4 (Aumasson, Bernstein 2012).
//!
//! The key is random and drawn at the start, so that nobody outside can tell which values share a place in a table
//! (hash flooding).

use std::net::IpAddr;

/// The hash under one key.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    seed: [u64; 2],
}

impl Hasher {
    /// The hash under `seed`, which must be random.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> Hasher {
        Hasher { seed }
    }

    /// Another hash for the `index`th of several tables.
    #[must_use]
    pub fn derived(self, index: usize) -> Hasher {
        let of = |word: u64| self.bytes(&[word, index as u64].map(u64::to_le_bytes).concat());
        Hasher { seed: [of(0), of(1)] }
    }

    /// The hash of a client: its IPv4 address, or the /64 of its IPv6 address. A /64 is the least that anybody is given,
    /// and whoever has one has 2^64 addresses to ask from.
    #[must_use]
    pub fn client(self, client: IpAddr) -> u64 {
        match client.to_canonical() {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u16::to_be_bytes);
                self.bytes(&[a, b, c, d].concat())
            }
        }
    }

    /// The hash of `bytes`.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> u64 {
        let mut state = State::new(self.seed);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.compress(u64::from_le_bytes(*word));
        }
        // The last word: the bytes that are left, and the length above them.
        let last = rest.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte));
        state.compress(((bytes.len() as u64) << 56) | last);
        state.finish()
    }
}

/// The four words between two rounds.
struct State([u64; 4]);

impl State {
    const fn new([k0, k1]: [u64; 2]) -> State {
        State([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    fn compress(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        let State([a, b, c, d]) = self;
        a ^ b ^ c ^ d
    }

    fn round(&mut self) {
        let State([a, b, c, d]) = self;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *d = d.rotate_left(21) ^ *a;
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: this is SipHash-2-4. Method: the vectors of its paper, and the library's own at every length of a few words.
    #[test]
    #[expect(deprecated, reason = "the only keyed SipHash of the library")]
    fn it_is_siphash() {
        use std::hash::Hasher as _;
        let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let input: Vec<u8> = (0..64).collect();
        assert_eq!(Hasher::new(seed).bytes(&input[..15]), 0xa129_ca61_49be_45e5);
        for length in 0..=input.len() {
            let mut theirs = std::hash::SipHasher::new_with_keys(seed[0], seed[1]);
            theirs.write(&input[..length]);
            assert_eq!(Hasher::new(seed).bytes(&input[..length]), theirs.finish(), "{length}");
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_64() {
        let hash = |text: &str| Hasher::new([1, 2]).client(text.parse().unwrap());
        assert_eq!(hash("2001:db8::1"), hash("2001:db8::ffff:1"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_eq!(hash("192.0.2.1"), hash("::ffff:192.0.2.1"), "mapped");
    }

    #[test]
    fn tables_do_not_share_their_collisions() {
        let hash = Hasher::new([1, 2]);
        assert_ne!(hash.derived(0).bytes(b"a"), hash.derived(1).bytes(b"a"));
        assert_ne!(hash.derived(0).bytes(b"a"), hash.bytes(b"a"));
    }
}
