//! The endpoints that were tried for one request.

/// Endpoints that one request may try. Whoever has failed with so many does not hope for the next: a group with more of
/// them dead has no use for requests that go through them all, one connect timeout each.
pub const ATTEMPTS_MAX: usize = 15;

/// The endpoints already tried for one request, by their place in the group. A group may have any number of members;
/// once [`ATTEMPTS_MAX`] were tried, all of them count as tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    len: u8,
    indices: [u16; ATTEMPTS_MAX],
}

impl Tried {
    /// Nothing was tried.
    pub const NONE: Tried = Tried { len: 0, indices: [0; ATTEMPTS_MAX] };

    /// `index` was tried.
    pub fn insert(&mut self, index: usize) {
        match (u16::try_from(index), self.indices.get_mut(usize::from(self.len))) {
            (Ok(index), Some(free)) => {
                *free = index;
                self.len += 1;
            }
            // No group has so many members; if one had, this would be its last attempt, and not an endless one.
            (Err(_), _) | (_, None) => self.len = u8::MAX,
        }
    }

    /// Whether it was.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        let tried = self.indices.get(..usize::from(self.len));
        let is_one = |tried: &[u16]| tried.iter().any(|&one| usize::from(one) == index);
        self.is_full() || tried.is_some_and(is_one)
    }

    /// Nothing was.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Enough were.
    #[must_use]
    pub fn is_full(&self) -> bool {
        usize::from(self.len) >= ATTEMPTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_is_itself() {
        let mut tried = Tried::default();
        assert!(tried.is_empty() && !tried.contains(0));
        tried.insert(1);
        tried.insert(65);
        assert!(tried.contains(1) && tried.contains(65) && !tried.contains(0) && !tried.contains(129));
    }

    #[test]
    fn attempts_are_bounded() {
        let mut tried = Tried::default();
        for index in 0..ATTEMPTS_MAX {
            assert!(!tried.contains(index));
            tried.insert(index);
        }
        assert!(tried.contains(ATTEMPTS_MAX + 1), "enough is enough");
        let mut far = Tried::default();
        far.insert(70_000);
        assert!(far.contains(70_000) && far.contains(0));
    }
}
