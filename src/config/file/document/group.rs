//! `[groups.NAME]`: upstreams that can stand in for each other.

use std::borrow::Cow;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Pool;
use crate::config::file::kinds::{Authority, BalanceWord, CookieName, Percent, Reference, Statuses};
use crate::config::file::scalar::{Table, Value};
use crate::config::group::HashKey;
use crate::config::value::duration::Timeout;
use crate::config::{ProxyVersion, Upstream};

/// Upstreams that can stand in for each other.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Origins: `host:port`, `unix:/path`, or a URL with `http`, `https`, `h2c` (HTTP/2), `h2` (HTTP/2 with TLS),
    /// `https+insecure` or `h2+insecure`; or a table with a weight. A name may stand for several endpoints.
    pub upstreams: Vec<WrittenUpstream>,
    /// Who serves the next request: of two taken at random the one with fewer requests, everybody in turn, or the one
    /// that `hash-key` points to.
    pub balance: Option<Value<BalanceWord>>,
    /// What the hash is taken of: `client` (the address), `header:NAME` or `cookie:NAME`.
    pub hash_key: Option<Value<HashKey>>,
    /// An endpoint that is new, or back, gets its full share after this time.
    pub slow_start: Option<Value<Timeout>>,
    /// Requests with one endpoint at once, all workers together. Without it there is no limit.
    pub max_connections: Option<Value<NonZeroU32>>,
    /// Connections begin with a PROXY header of this version, `v1` or `v2`, which names the client. Such a connection
    /// serves one request, and HTTP/2 upstreams cannot have it. Without it none is sent.
    pub send_proxy: Option<Value<ProxyVersion>>,
    /// A cookie that keeps a client with the endpoint that served it first. Without it there is none.
    pub sticky: Option<Sticky>,
    /// Where requests wait while every endpoint has `max-connections`.
    pub queue: Option<Queue>,
    /// When an endpoint is left alone for what its traffic shows; `false` is never.
    pub ejection: Option<EjectionSetting>,
    /// Probes. Without it an endpoint is never probed.
    pub check: Option<Table<Check>>,
    /// Where the group differs from `[pool]`.
    pub pool: Option<Pool>,
}

/// An upstream with its share.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WeighedUpstream {
    /// As in a list of upstreams.
    pub address: Value<Upstream>,
    /// Its share, relative to that of the others.
    pub weight: Option<Value<NonZeroU16>>,
}

/// An upstream, alone or in a table.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum WrittenUpstream {
    /// With a share as large as anybody's.
    Plain(Value<Upstream>),
    /// With a share of its own.
    Weighed(WeighedUpstream),
}

impl<'de> Deserialize<'de> for WrittenUpstream {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let either: Table<Either> = Table::deserialize(from)?;
        Ok(match either.it {
            Either::Plain(it) => WrittenUpstream::Plain(Value { it, span: either.span }),
            Either::Weighed(upstream) => WrittenUpstream::Weighed(upstream),
        })
    }
}

/// What [`WrittenUpstream`] is read through: serde's own untagged enums lose the place of what is wrong.
enum Either {
    Plain(Upstream),
    Weighed(WeighedUpstream),
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
        f.write_str("an origin such as \"127.0.0.1:3000\", or a table such as { address = \"127.0.0.1:3000\", weight = 2 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Either, E> {
        crate::config::value::upstream::parse(text).map(Either::Plain).map_err(E::custom)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Either, M::Error> {
        WeighedUpstream::deserialize(MapAccessDeserializer::new(map)).map(Either::Weighed)
    }
}

impl JsonSchema for WrittenUpstream {
    fn schema_name() -> Cow<'static, str> {
        "Upstream".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<WeighedUpstream>();
        json_schema!({ "title": "upstream", "anyOf": [{ "type": "string" }, table] })
    }
}

/// A cookie that names the endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sticky {
    /// Its name.
    pub cookie: Value<CookieName>,
    /// How long a browser keeps it (`Max-Age`), in whole seconds. Without it: for as long as the browser runs.
    pub max_age: Option<Value<Duration>>,
    /// Browsers send it back over TLS only.
    pub secure: Option<Value<bool>>,
}

/// Requests that wait for an endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Queue {
    /// How many may wait, per endpoint.
    pub max: Option<Value<u32>>,
    /// How long one waits before it is answered with 503.
    pub timeout: Option<Value<Duration>>,
}

/// When an endpoint is left alone; never the last half of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row: refused, reset, late, broken, or answered with 502, 503 or 504. 0 counts none.
    pub consecutive: Option<Value<u32>>,
    /// Failures in a hundred requests within `window`. 0 counts none.
    pub error_percent: Option<Value<Percent>>,
    /// Requests within `window` from which on a rate says anything.
    pub requests_min: Option<Value<u32>>,
    /// How long the rate is taken over.
    pub window: Option<Value<Duration>>,
    /// How long it is left alone the first time; twice as long each time again.
    pub base: Option<Value<Duration>>,
    /// The longest it is left alone.
    pub max: Option<Value<Duration>>,
}

/// `ejection`: a table, or a switch.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum EjectionSetting {
    /// `true` is the defaults, `false` is never.
    Switch(bool),
    /// Where it differs from the defaults.
    Table(Box<Table<Ejection>>),
}

impl<'de> Deserialize<'de> for EjectionSetting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let either: Table<SwitchOrEjection> = Table::deserialize(from)?;
        Ok(match either.it {
            SwitchOrEjection::Switch(on) => EjectionSetting::Switch(on),
            SwitchOrEjection::Table(it) => {
                EjectionSetting::Table(Box::new(Table { it: *it, span: either.span }))
            }
        })
    }
}

/// What [`EjectionSetting`] is read through.
enum SwitchOrEjection {
    Switch(bool),
    Table(Box<Ejection>),
}

impl<'de> Deserialize<'de> for SwitchOrEjection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EjectionVisitor)
    }
}

struct EjectionVisitor;

impl<'de> Visitor<'de> for EjectionVisitor {
    type Value = SwitchOrEjection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`false`, or a table such as { consecutive = 5 }")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<SwitchOrEjection, E> {
        Ok(SwitchOrEjection::Switch(on))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SwitchOrEjection, M::Error> {
        Ejection::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(SwitchOrEjection::Table)
    }
}

impl JsonSchema for EjectionSetting {
    fn schema_name() -> Cow<'static, str> {
        "EjectionSetting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Ejection>();
        json_schema!({ "title": "table or switch", "anyOf": [{ "type": "boolean" }, table] })
    }
}

/// Probes of an endpoint: either `http` or `tcp`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Check {
    /// Ask for this path with GET.
    pub http: Option<Value<Reference>>,
    /// Only connect.
    pub tcp: Option<Value<bool>>,
    /// The Host field of an HTTP probe. Without it: the endpoint's own address.
    pub host: Option<Value<Authority>>,
    /// Statuses that are good: one, or a range.
    pub expect: Option<Value<Statuses>>,
    /// Time between two probes.
    pub interval: Option<Value<Duration>>,
    /// How long one may take.
    pub timeout: Option<Value<Duration>>,
    /// Good probes in a row that bring an endpoint back.
    pub healthy: Option<Value<NonZeroU32>>,
    /// Bad probes in a row that take it out.
    pub unhealthy: Option<Value<NonZeroU32>>,
}
