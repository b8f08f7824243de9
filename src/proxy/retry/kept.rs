//! A copy of a request body, so that the request can be sent again.
//!
//! What is kept are the bytes that go to the origin, framing included, from the first on. So they can be sent behind
//! the head as they are, to any connection, and the body goes on behind them with what follows from the client: the
//! decoder of the client's side stays where it is (see [`crate::proxy::exchange::Exchange::again`]).
//!
//! A copy is bounded three times: by what the route allows for one body, by what a worker keeps of all of them, and by time:
//! it is freed with the response head. A body that does not fit is not kept at all, and its request is sent once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::limits;

/// What a worker keeps of all request bodies.
#[derive(Debug)]
pub struct KeptBodies {
    bytes_max: usize,
    /// Capacity in bytes of all buffers, lent and free.
    bytes: Cell<usize>,
    free: RefCell<Vec<Vec<u8>>>,
}

impl Default for KeptBodies {
    fn default() -> Self {
        KeptBodies::new(limits::KEPT_BODIES_BYTES_MAX)
    }
}

impl KeptBodies {
    /// At most `bytes_max`, all bodies together.
    #[must_use]
    pub fn new(bytes_max: usize) -> KeptBodies {
        KeptBodies { bytes_max, bytes: Cell::new(0), free: RefCell::default() }
    }

    /// Bytes in buffers now, lent and free.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// A buffer that was used before, or none yet.
    fn lend(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Room for `more` bytes; false when there is none.
    fn grow(&self, more: usize) -> bool {
        let bytes = self.bytes.get().saturating_add(more);
        if bytes <= self.bytes_max {
            self.bytes.set(bytes);
        }
        bytes <= self.bytes_max
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        let keep = (1..=limits::KEPT_BODY_BYTES).contains(&buffer.capacity());
        if keep && free.len() < limits::KEPT_BODIES_FREE_MAX {
            buffer.clear();
            free.push(buffer);
        } else {
            self.bytes.set(self.bytes.get().saturating_sub(buffer.capacity()));
        }
    }
}

/// The bytes of one request body that were sent so far.
#[derive(Debug)]
pub struct KeptBody {
    bytes_max: usize,
    /// `None` once they did not fit.
    bytes: Option<Vec<u8>>,
    pool: Rc<KeptBodies>,
}

impl KeptBody {
    /// Nothing yet, and at most `bytes_max` bytes, from the share of `pool`. With 0 nothing is ever kept.
    #[must_use]
    pub fn new(bytes_max: usize, pool: &Rc<KeptBodies>) -> KeptBody {
        let bytes = if bytes_max > 0 { Some(Vec::new()) } else { None };
        KeptBody { bytes_max, bytes, pool: Rc::clone(pool) }
    }

    /// `more` goes to the origin. It is kept, or everything is given up because it does not fit.
    pub fn push(&mut self, more: &[u8]) {
        let Some(bytes) = self.bytes.as_mut() else { return };
        let length = bytes.len().saturating_add(more.len());
        if length > self.bytes_max || !make_room(bytes, length, self.bytes_max, &self.pool) {
            return self.give_up();
        }
        bytes.extend_from_slice(more);
    }

    /// The body is not kept any more: the request is answered, or bytes of it passed by unseen.
    pub fn give_up(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.pool.give(bytes);
        }
    }

    /// Everything that was sent, if all of it was kept.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// How much that is: what [`crate::proxy::exchange::Exchange::body_kept`] wants to know.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        self.bytes.as_ref().map(Vec::len)
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Makes `bytes` hold `length` bytes in place, at the cost of `pool`; false when that has no room.
fn make_room(bytes: &mut Vec<u8>, length: usize, bytes_max: usize, pool: &KeptBodies) -> bool {
    if bytes.capacity() == 0 && length > 0 {
        *bytes = pool.lend();
    }
    let capacity = bytes.capacity();
    if capacity >= length {
        return true;
    }
    // In powers of two, so that many small pieces do not move the bytes each time.
    let wanted = length.next_power_of_two().min(bytes_max).max(length);
    if !pool.grow(wanted - capacity) {
        return false;
    }
    bytes.reserve_exact(wanted - bytes.len());
    // An allocator may give more than was asked for.
    pool.bytes.set(pool.bytes.get() + bytes.capacity() - wanted);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(bytes_max: usize) -> Rc<KeptBodies> {
        Rc::new(KeptBodies::new(bytes_max))
    }

    #[test]
    fn what_fits_is_kept_and_what_does_not_is_freed() {
        let pool = pool(1 << 20);
        let mut kept = KeptBody::new(10, &pool);
        assert_eq!((kept.bytes(), kept.length()), (Some(b"".as_slice()), Some(0)));
        kept.push(b"12345");
        kept.push(b"67890");
        assert_eq!((kept.bytes(), kept.length()), (Some(b"1234567890".as_slice()), Some(10)));
        kept.push(b"");
        assert_eq!(kept.length(), Some(10));
        kept.push(b"1");
        assert_eq!((kept.bytes(), kept.length()), (None, None), "one byte too many");
        kept.push(b"");
        assert_eq!(kept.length(), None, "what is lost stays lost");
        assert_eq!(KeptBody::new(0, &pool).length(), None, "0 turns it off");
    }

    /// Goal: all bodies of a worker together stay within its share, and everything is given back. Method: more bodies than fit,
    /// in every size, and the count of the pool after each.
    #[test]
    fn a_worker_keeps_no_more_than_its_share() {
        let share = 512 * 1024;
        let pool = pool(share);
        for size in [1, 100, 4096, limits::KEPT_BODY_BYTES, 3 * limits::KEPT_BODY_BYTES, share] {
            let mut bodies: Vec<KeptBody> = (0..200).map(|_| KeptBody::new(share, &pool)).collect();
            for kept in &mut bodies {
                for piece in vec![b'x'; size].chunks(size.div_ceil(3)) {
                    kept.push(piece);
                }
                assert!(kept.length().is_none_or(|kept| kept == size));
                assert!(pool.bytes() <= share);
            }
            let whole = bodies.iter().filter(|kept| kept.length().is_some()).count();
            assert!(
                whole >= 1.max((share / 2 / size.next_power_of_two()).min(200)).min(8),
                "{whole} of {size}"
            );
            drop(bodies);
            let free: usize = pool.free.borrow().iter().map(Vec::capacity).sum();
            assert_eq!(pool.bytes(), free, "after bodies of {size}");
            assert!(pool.free.borrow().len() <= limits::KEPT_BODIES_FREE_MAX);
            pool.free.borrow_mut().clear();
            pool.bytes.set(0);
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let pool = pool(1 << 20);
        let mut kept = KeptBody::new(1000, &pool);
        kept.push(&[1; 900]);
        let held = pool.bytes();
        drop(kept);
        let mut again = KeptBody::new(1000, &pool);
        again.push(b"new");
        assert_eq!((again.bytes(), pool.bytes()), (Some(b"new".as_slice()), held));
    }
}
