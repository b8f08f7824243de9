//! Request identifiers: unique, not guessable from one another, made without a system call.

use super::mix::mix;

/// Makes identifiers from a random seed and a counter.
#[derive(Clone, Debug)]
pub struct RequestIds {
    seed: [u64; 2],
    next: u64,
}

/// An identifier: 128 bits in hexadecimal.
pub type RequestId = [u8; 32];

impl RequestIds {
    /// Identifiers from `seed`, which must be random and of this worker alone.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> RequestIds {
        RequestIds { seed, next: 0 }
    }

    /// The next identifier.
    pub fn next_id(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(1);
        let high = mix(self.seed[0] ^ mix(self.next));
        let low = mix(self.seed[1].wrapping_add(high) ^ self.next);
        let mut id = [0; 32];
        let digits = (u128::from(high) << 64) | u128::from(low);
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = HEX[(digits >> (124 - 4 * i)) as usize & 15];
        }
        id
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_do_not_repeat_within_or_between_workers() {
        let mut seen = HashSet::new();
        for seed in [[1, 2], [1, 3], [2, 2]] {
            let mut ids = RequestIds::new(seed);
            for _ in 0..10_000 {
                let id = ids.next_id();
                assert!(id.iter().all(u8::is_ascii_hexdigit));
                assert!(seen.insert(id));
            }
        }
    }
}
