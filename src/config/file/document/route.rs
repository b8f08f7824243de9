//! `[[route]]`: which requests, and what becomes of them.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Entries;
use crate::config::file::kinds::{
    Attempts, Authority, FieldCondition, FieldName, FieldValue, KeptBytes, Method, Name, Percent,
    RedirectStatus, Reference, ResponseStatus, RetryStatus, UrlPath, WebScheme,
};
use crate::config::file::scalar::{Raw, Scalar, Table, Value};
use crate::config::route::{Host, LimitKey};
use crate::config::value::duration::Timeout;
use crate::config::value::size::BytesLimit;

/// Some of the requests, and what becomes of them: exactly one of `group`, `redirect` and `respond`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Route {
    /// Its name in logs and metrics. Without it: its first host and its path.
    pub name: Option<Value<Name>>,
    /// Any of these hosts, without ports; `*.example.com` is any one label in front. Without it every host.
    pub hosts: Option<Table<Vec<Value<Host>>>>,
    /// This path and what is below it: `/a` matches `/a` and `/a/b` but not `/ab`. Without it every path.
    pub path: Option<Value<UrlPath>>,
    /// This path alone.
    pub exact_path: Option<Value<UrlPath>>,
    /// Any of these methods. Without it every method.
    pub methods: Option<Table<Vec<Value<Method>>>>,
    /// All of these header fields: each with its value byte for byte, or `true` for any value.
    pub headers: Option<Entries<FieldName, Value<FieldCondition>>>,
    /// Requests are forwarded to this group.
    pub group: Option<Value<Name>>,
    /// The matched path is taken away before a request is forwarded.
    pub strip_prefix: Option<Value<bool>>,
    /// The matched path is replaced by this one.
    pub replace_prefix: Option<Value<UrlPath>>,
    /// Largest request body. Without it that of `[limits]`.
    pub max_body_bytes: Option<Value<BytesLimit>>,
    /// Requests are told to ask elsewhere.
    pub redirect: Option<Table<Redirect>>,
    /// Requests are answered here.
    pub respond: Option<Table<Respond>>,
    /// Changes to the fields of requests that are forwarded.
    pub request_headers: Option<Table<FieldEdits>>,
    /// Changes to the fields of responses.
    pub response_headers: Option<Table<FieldEdits>>,
    /// Where the route differs from `[timeouts]`.
    pub timeouts: Option<RouteTimeouts>,
    /// Where the route differs from `[retry]`.
    pub retry: Option<Retry>,
    /// Who may ask how often; who asks more is answered with 429.
    pub limit: Option<Vec<Table<Limit>>>,
}

/// Where a redirect leads: `to`, or the same target with another scheme, host or path in front.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. 307 and 308 keep the method; 301 and 308 are remembered by clients.
    pub status: Option<Value<RedirectStatus>>,
    /// This URI or path, whatever was asked for.
    pub to: Option<Value<Reference>>,
    /// Another scheme.
    pub scheme: Option<Value<WebScheme>>,
    /// Another host, with a port if it is not the scheme's own.
    pub host: Option<Value<Authority>>,
    /// The matched path is taken away.
    pub strip_prefix: Option<Value<bool>>,
    /// The matched path is replaced by this one.
    pub replace_prefix: Option<Value<UrlPath>>,
}

/// A response made here.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Respond {
    /// Its status, 200 to 599.
    pub status: Option<Value<ResponseStatus>>,
    /// Its Content-Type. Without it `text/plain; charset=utf-8`, where there is a body.
    pub content_type: Option<Value<FieldValue>>,
    /// Its body. Without it there is none.
    pub body: Option<Value<String>>,
}

/// Changes to fields, in this order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FieldEdits {
    /// Fields that are taken away.
    pub remove: Option<Vec<Value<FieldName>>>,
    /// Fields that are there once, with this value, whatever came.
    pub set: Option<Entries<FieldName, Value<FieldValue>>>,
    /// Fields that are added to what came: a value, or a list of values.
    pub add: Option<Entries<FieldName, OneOrMore>>,
}

/// A value, or a list of them.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(Value<FieldValue>),
    /// A list.
    More(Vec<Value<FieldValue>>),
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let either: Table<Either> = Table::deserialize(from)?;
        Ok(match either.it {
            Either::One(it) => OneOrMore::One(Value { it, span: either.span }),
            Either::More(values) => OneOrMore::More(values),
        })
    }
}

/// What [`OneOrMore`] is read through: serde's own untagged enums lose the place of what is wrong.
enum Either {
    One(FieldValue),
    More(Vec<Value<FieldValue>>),
}

impl<'de> Deserialize<'de> for Either {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EitherVisitor)
    }
}

struct EitherVisitor;

impl<'de> Visitor<'de> for EitherVisitor {
    type Value = Either;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a field in quotes, or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Either, E> {
        FieldValue::read(&Raw::Text(text.to_owned())).map(Either::One).map_err(E::custom)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Either, S::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Either::More)
    }
}

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "field value or list of them",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

/// Where a route differs from `[timeouts]`. The timers that run before a request is understood are not a route's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RouteTimeouts {
    /// Silence of the client while its body is due and no response has begun.
    pub body: Option<Value<Timeout>>,
    /// Connecting to one endpoint, TLS included.
    pub connect: Option<Value<Timeout>>,
    /// Silence of the upstream before its response head.
    pub request: Option<Value<Timeout>>,
    /// Silence of the upstream inside a response.
    pub stream_idle: Option<Value<Timeout>>,
    /// No progress towards a client that owes us reads.
    pub write: Option<Value<Timeout>>,
    /// Silence of both directions of a tunnel.
    pub tunnel: Option<Value<Timeout>>,
    /// The whole exchange, streams included.
    pub request_deadline: Option<Value<Timeout>>,
}

/// What is tried again, on another endpoint if there is one. Never once a byte of a response has been passed on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// The endpoint could not be connected to.
    pub connect_failure: Option<Value<bool>>,
    /// The endpoint refused the stream (HTTP/2), and has not looked at the request.
    pub refused_stream: Option<Value<bool>>,
    /// The connection broke before a response; for idempotent methods only.
    pub reset_before_response: Option<Value<bool>>,
    /// Responses with these statuses, 400 to 599; for safe methods only.
    pub statuses: Option<Vec<Value<RetryStatus>>>,
    /// Attempts after the first, 10 at most; 0 tries nothing again.
    pub max: Option<Value<Attempts>>,
    /// Retries in a hundred requests, per worker; a few are always free.
    pub budget_percent: Option<Value<Percent>>,
    /// Bytes of a request body that are kept for it; a larger one is sent once.
    pub max_body_bytes: Option<Value<KeptBytes>>,
}

/// Who may ask how often: `requests` in a time, or `concurrent` at once, or both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limit {
    /// Who counts as one: `client` (the address; of IPv6, its /64), `header:NAME` (a value of this field), or `route`
    /// (everybody).
    pub key: Value<LimitKey>,
    /// Requests in the time of `per`.
    pub requests: Option<Value<NonZeroU32>>,
    /// The time that `requests` are counted in.
    pub per: Option<Value<Duration>>,
    /// Requests at once after a pause. Without it as many as `requests`.
    pub burst: Option<Value<NonZeroU32>>,
    /// Requests that may be under way at the same time.
    pub concurrent: Option<Value<NonZeroU32>>,
}
