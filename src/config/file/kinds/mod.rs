//! The kinds of values that a file has, on top of the parsers that flags use too.

mod http;
mod numbers;
mod places;
mod words;

pub use self::http::{
    Authority, CookieName, FieldCondition, FieldName, FieldValue, Method, Name, Reference, UrlPath,
};
pub use self::numbers::{
    Attempts, Connections, Fields, HeadBytes, Idle, KeptBytes, PerClient, Percent, RedirectStatus, Refresh,
    ResponseStatus, RetryStatus, Statuses, TargetBytes, TimeoutStatus, Workers,
};
pub use self::places::LogLevel;
pub use self::words::{BalanceWord, Requirement, WebScheme};
use super::scalar::Raw;

fn text_of(value: impl ToString) -> Raw {
    Raw::Text(value.to_string())
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

fn number_of(value: impl TryInto<i64>) -> Raw {
    Raw::Number(value.try_into().unwrap_or(i64::MAX))
}
