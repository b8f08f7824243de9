//! A head as policy reads it: the bytes that came, and the fields that were found in them.
//!
//! It stands by itself because everybody reads it: who chooses a route, an endpoint or a limit does so without knowing how
//! heads are forwarded.

use crate::h1::field::list;
use crate::h1::{Field, Known};

/// A head with its bytes and fields.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The bytes the spans refer to.
    pub bytes: &'a [u8],
    /// The fields in order.
    pub fields: &'a [Field],
}

impl<'a> Source<'a> {
    /// Values of every field of this name.
    pub fn values(self, known: Known) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |f| f.known == known).map(move |f| f.value.of(self.bytes))
    }

    /// `Connection` names `token`.
    pub(super) fn connection_names(self, token: &[u8]) -> bool {
        self.values(Known::Connection).flat_map(list).any(|t| t.eq_ignore_ascii_case(token))
    }

    /// `Connection` names something beside the options that every proxy knows.
    pub(super) fn nominates_fields(self) -> bool {
        const OPTIONS: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];
        self.values(Known::Connection)
            .flat_map(list)
            .any(|token| !OPTIONS.iter().any(|option| option.eq_ignore_ascii_case(token)))
    }
}
