//! Durations, sizes, counts and statuses.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::{number_of, said, text_of};
use crate::config::file::scalar::{Form, Raw, Scalar};
use crate::config::value::duration::{self, Period, Timeout};
use crate::config::value::number::{self, Auto};
use crate::config::value::size::{self, Bytes, BytesLimit};

/// A whole number within bounds, as the type that holds it.
fn count<T: TryFrom<usize>>(raw: &Raw, min: usize, max: usize, example: usize) -> Result<T, String> {
    let refused = || format!("expected a whole number from {min} to {max}, such as {example}");
    let words = raw.words().map_err(|_| refused())?;
    let number = number::count(&words, min, max, example).map_err(said)?;
    T::try_from(number).map_err(|_| refused())
}

/// What the parser of a flag makes of it.
fn words<T, E: ToString>(raw: &Raw, parse: fn(&str) -> Result<T, E>) -> Result<T, String> {
    parse(&raw.words()?).map_err(said)
}

fn size_of(bytes: usize) -> Raw {
    text_of(Bytes(bytes as u64))
}

fn auto_of(Auto(count): Auto) -> Raw {
    count.map_or_else(|| text_of("auto"), |count| number_of(count.get()))
}

/// Defines kinds that are a type of the flags under another name: how each is read, and how its value is written. A macro, because
/// a function defines no types.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($held:ty): $form:ident $kind:literal, $expected:literal, $read:expr, $write:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub $held);

        impl Scalar for $name {
            const KIND: &'static str = $kind;
            const EXPECTED: &'static str = $expected;
            const FORM: Form = Form::$form;

            fn read(raw: &Raw) -> Result<Self, String> {
                let read: fn(&Raw) -> Result<$held, String> = $read;
                read(raw).map($name)
            }

            fn write(&self) -> Raw {
                $write(self.0)
            }
        }
    )*};
}

kinds! {
    /// Time between two resolutions of a name.
    Refresh(Period): Either "duration or off", "a duration such as \"30s\", or \"off\"",
        |raw| words(raw, duration::refresh), text_of;
    /// Bytes of a head.
    HeadBytes(usize): Either "size", "a size such as \"32KiB\"",
        |raw| words(raw, size::head), size_of;
    /// Bytes of a target.
    TargetBytes(usize): Either "size", "a size such as \"8KiB\"",
        |raw| words(raw, size::target), size_of;
    /// Bytes of a body that is kept.
    KeptBytes(usize): Either "size", "a size such as \"16KiB\"",
        |raw| words(raw, size::kept_body), size_of;
    /// Worker threads.
    Workers(Auto): Either "number or auto", "a number such as 4, or \"auto\"",
        |raw| words(raw, number::workers), auto_of;
    /// Client connections.
    Connections(Auto): Either "number or auto", "a number such as 10000, or \"auto\"",
        |raw| words(raw, number::connections), auto_of;
    /// Fields of a head.
    Fields(usize): Number "number", "a number such as 100",
        |raw| words(raw, number::fields), number_of;
    /// Idle connections.
    Idle(usize): Number "number", "a number such as 1024",
        |raw| words(raw, number::idle), number_of;
    /// Attempts after the first.
    Attempts(u8): Number "number", "a number from 0 to 10",
        |raw| count(raw, 0, 10, 2), number_of;
    /// A share of a hundred.
    Percent(u8): Number "percentage", "a percentage from 0 to 100",
        |raw| count(raw, 0, 100, 50), number_of;
    /// Status of a timeout.
    TimeoutStatus(u16): Number "status", "a status from 500 to 599",
        |raw| words(raw, number::status), number_of;
    /// Status of a response made here.
    ResponseStatus(u16): Number "status", "a status from 200 to 599",
        |raw| count(raw, 200, 599, 503), number_of;
    /// Status of a response that is tried again.
    RetryStatus(u16): Number "status", "a status from 400 to 599",
        |raw| count(raw, 400, 599, 503), number_of;
}

/// Durations that `off` is one of.
macro_rules! durations_or_off {
    ($($name:ident),*) => {$(
        impl Scalar for $name {
            const KIND: &'static str = "duration or off";
            const EXPECTED: &'static str = "a duration such as \"10s\", or \"off\"";
            const FORM: Form = Form::Either;

            fn read(raw: &Raw) -> Result<Self, String> {
                raw.words()?.parse().map_err(said)
            }

            fn write(&self) -> Raw {
                text_of(self)
            }
        }
    )*};
}

durations_or_off!(Timeout, Period);

/// A duration that cannot be off.
impl Scalar for Duration {
    const KIND: &'static str = "duration";
    const EXPECTED: &'static str = "a duration such as \"10s\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        let Timeout(duration) = raw.words()?.parse().map_err(said)?;
        duration.ok_or_else(|| "this cannot be off: expected a duration, such as 10s".to_owned())
    }

    fn write(&self) -> Raw {
        text_of(Timeout(Some(*self)))
    }
}

impl Scalar for BytesLimit {
    const KIND: &'static str = "size or off";
    const EXPECTED: &'static str = "a size such as \"64KiB\", or \"off\"";
    const FORM: Form = Form::Either;

    fn read(raw: &Raw) -> Result<Self, String> {
        raw.words()?.parse().map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}

/// Connections of one client, or no limit.
#[derive(Clone, Debug)]
pub struct PerClient(pub Option<NonZeroU32>);

impl Scalar for PerClient {
    const KIND: &'static str = "number or off";
    const EXPECTED: &'static str = "a number such as 100, or \"off\"";
    const FORM: Form = Form::Either;

    fn read(raw: &Raw) -> Result<Self, String> {
        number::limit(&raw.words()?).map(|limit| PerClient(limit.0)).map_err(said)
    }

    fn write(&self) -> Raw {
        self.0.map_or_else(|| text_of("off"), |count| number_of(count.get()))
    }
}

impl Scalar for NonZeroU32 {
    const KIND: &'static str = "number";
    const EXPECTED: &'static str = "a number, 1 at least";
    const FORM: Form = Form::Number;

    fn read(raw: &Raw) -> Result<Self, String> {
        count::<u32>(raw, 1, COUNT_MAX, 10).map(|number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    fn write(&self) -> Raw {
        number_of(self.get())
    }
}

/// Largest count in a file: more than any machine holds of anything.
const COUNT_MAX: usize = 1_000_000_000;

impl Scalar for u32 {
    const KIND: &'static str = "number";
    const EXPECTED: &'static str = "a number, 0 at least";
    const FORM: Form = Form::Number;

    fn read(raw: &Raw) -> Result<Self, String> {
        count(raw, 0, COUNT_MAX, 10)
    }

    fn write(&self) -> Raw {
        number_of(*self)
    }
}

impl Scalar for NonZeroU16 {
    const KIND: &'static str = "number";
    const EXPECTED: &'static str = "a weight from 1 to 65535";
    const FORM: Form = Form::Number;

    fn read(raw: &Raw) -> Result<Self, String> {
        count::<u16>(raw, 1, 65_535, 2)
            .map(|number| NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN))
            .map_err(|error| match raw {
                Raw::Number(0) => format!("{error}; an upstream that serves nothing is left out of the list"),
                Raw::Number(_) | Raw::Text(_) | Raw::Switch(_) => error,
            })
    }

    fn write(&self) -> Raw {
        number_of(self.get())
    }
}

/// Status of a redirect.
#[derive(Clone, Debug)]
pub struct RedirectStatus(pub u16);

impl Scalar for RedirectStatus {
    const KIND: &'static str = "status";
    const EXPECTED: &'static str = "301, 302, 303, 307 or 308";
    const FORM: Form = Form::Number;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Number(status @ (301 | 302 | 303 | 307 | 308)) => {
                u16::try_from(*status).map(RedirectStatus).map_err(said)
            }
            Raw::Number(_) | Raw::Text(_) | Raw::Switch(_) => Err(
                "expected 301, 302, 303, 307 or 308; 307 and 308 keep the method, 301 and 308 are remembered"
                    .to_owned(),
            ),
        }
    }

    fn write(&self) -> Raw {
        number_of(self.0)
    }
}

/// First and last of a range of statuses.
#[derive(Clone, Debug)]
pub struct Statuses(pub (u16, u16));

impl Scalar for Statuses {
    const KIND: &'static str = "status or range";
    const EXPECTED: &'static str = "a status such as 200, or a range such as \"200-399\"";
    const FORM: Form = Form::Either;

    fn read(raw: &Raw) -> Result<Self, String> {
        let words = raw.words()?;
        let (first, last) = words.split_once('-').unwrap_or((&words, &words));
        let status =
            |text: &str| number::count(text, 200, 599, 200).ok().and_then(|it| u16::try_from(it).ok());
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Statuses((first, last))),
            _ => Err(format!("expected {} (200 to 599)", Self::EXPECTED)),
        }
    }

    fn write(&self) -> Raw {
        let (first, last) = self.0;
        if first == last { number_of(first) } else { text_of(format!("{first}-{last}")) }
    }
}
