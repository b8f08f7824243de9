//! The operations: each one piece of the hot path, with what it needs prepared beforehand.

mod bodies;
mod heads;
mod policy;
mod timers;

/// Whether an operation may ask the allocator for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heap {
    /// It is on the path of every request.
    Never,
    /// It is rare.
    Allowed,
}

/// A piece of the hot path in a loop.
pub struct Operation {
    /// What the command line calls it.
    pub name: &'static str,
    /// What one turn does.
    pub what: &'static str,
    /// Whether it may allocate.
    pub heap: Heap,
    /// Runs so many turns: one call, so that none of them pays for an indirect one.
    pub run: Box<dyn FnMut(u64)>,
}

impl Operation {
    /// An operation that is a `turn`.
    pub fn new(
        name: &'static str,
        what: &'static str,
        heap: Heap,
        mut turn: impl FnMut() + 'static,
    ) -> Operation {
        Operation { name, what, heap, run: Box::new(move |turns| (0..turns).for_each(|_| turn())) }
    }

    /// An operation of every request: it never allocates.
    fn hot(name: &'static str, what: &'static str, turn: impl FnMut() + 'static) -> Operation {
        Operation::new(name, what, Heap::Never, turn)
    }
}

/// All operations, in the order in which an exchange needs them.
///
/// # Errors
/// An operation does not do what it is to measure.
pub fn all() -> Result<Vec<Operation>, String> {
    let mut all = heads::operations()?;
    all.extend(bodies::operations()?);
    all.extend(timers::operations()?);
    all.extend(policy::operations());
    Ok(all)
}
