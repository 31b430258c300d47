//! The config file: raw TOML to a [`Config`] that cannot be wrong.
//!
//! [`Config::load`] reads a file. The text is parsed once into a tree with positions, which small typed readers then walk
//! (`reader`). They note every fault with its line, column and full key instead of stopping at the first, so
//! that one run of `webhookd check` tells all there is to mend. The keys of each table stand in `keys`; the reader
//! refuses what is not listed there, and a test holds `webhookd.toml.example` against the same lists.
//!
//! Secrets are loaded here, whatever their place, and no error, warning or `Debug` shows one. The values of headers are
//! treated alike, and errors show no URL of an endpoint: both may hold credentials too.
//!
//! | file | job |
//! |---|---|
//! | `load` | a file to a [`Config`] |
//! | `reader`, `keys`, `units`, `error` | typed reading with places; known keys; quantities; the faults |
//! | `api`, `inbound`, `storage`, `delivery`, `endpoint`, `source` | one table each |
//! | `scheme`, `signing`, `verifying`, `secrets` | signature schemes and their secrets, both ways |
//! | `pick`, `presets`, `respond` | what is read from a third party's request, and what it is answered |
//! | `headers`, `hosts`, `networks`, `proxies`, `rates`, `tls/` | parts of several |
//! | `summary` | a config in a few lines |
//! | `debug` | endpoints and sources as `Debug` shows them |
//! | `change` | what another config changes while a daemon runs, and what it cannot |

mod api;
mod change;
mod debug;
mod delivery;
mod endpoint;
mod error;
mod headers;
mod hosts;
mod inbound;
mod keys;
mod load;
mod networks;
mod pick;
mod presets;
mod proxies;
mod rates;
mod reader;
mod respond;
mod scheme;
mod secrets;
mod signing;
mod source;
mod storage;
mod summary;
mod tls;
pub mod units;
mod verifying;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

pub use self::change::{Changes, SourceChanges};
pub use self::delivery::Delivery;
pub use self::error::{ConfigError, ConfigErrors};
pub use self::hosts::HostName;
pub use self::load::process_env;
pub use self::pick::{JsonPointer, Pick, PointerError};
pub use self::reader::EnvLookup;
pub use self::tls::{ListenerTls, ReadTls, TlsFiles, TlsKey, TlsNote, pem, subject_of};
use crate::model::text::{EndpointName, SourceName};
pub use crate::policy::breaker::BreakerRules;
pub use crate::policy::order::{OnDead, Order};
pub use crate::policy::rate::RateLimit;
use crate::policy::retry::RetryPolicy;
use crate::policy::routing::TypeFilter;
use crate::signature::Scheme;
use crate::signature::secret::Secret;

/// A whole config, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[api]`
    pub api: Api,
    /// `[inbound]`; `None`: there is neither such a table nor a source.
    pub inbound: Option<Inbound>,
    /// `[storage]`
    pub storage: Storage,
    /// `[endpoint.*]`
    pub endpoints: BTreeMap<EndpointName, Arc<Endpoint>>,
    /// `[source.*]`
    pub sources: BTreeMap<SourceName, Arc<Source>>,
    /// What is wrong at this time alone: a certificate that has expired, or is not valid yet. The rest holds.
    pub lapsed: Option<ConfigErrors>,
    /// What is legal but worth a word at start, one sentence each.
    pub warnings: Vec<String>,
}

/// Where a listener stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

/// `[api]`
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it listens.
    pub listen: Listen,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections from one address at once; loopback addresses and unix sockets are not counted so.
    pub connections_per_address_max: usize,
    /// Names under which it is asked for, beside IP addresses and `localhost`.
    pub hosts: Vec<HostName>,
    /// Its certificate; `None`: it speaks plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// Its tokens; empty: everyone who reaches the listener may do everything.
    pub tokens: Vec<Token>,
}

/// `[inbound]`
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Where it listens.
    pub listen: Listen,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most connections from one address at once; loopback addresses and unix sockets are not counted so.
    pub connections_per_address_max: usize,
    /// Whose connections begin with a PROXY header (PROXY protocol, versions 1 and 2).
    pub proxy_protocol: Proxies,
    /// Its certificate; `None`: it speaks plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
}

/// Proxies and load balancers, as far as they are trusted with the address of their clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Their networks.
    pub networks: Vec<IpNet>,
    /// Whether whoever connects over a unix socket is one (`"unix"`).
    pub unix: bool,
}

/// One bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its name in the config; its value is never shown.
    pub name: String,
    /// Its value.
    pub secret: Secret,
    /// What it allows.
    pub scope: Scope,
}

/// What a token allows; each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Posting events.
    Send,
    /// Reading everything but secrets.
    Read,
    /// Everything.
    Admin,
}

/// `[storage]`
#[derive(Clone, Debug)]
pub struct Storage {
    /// The data folder.
    pub dir: PathBuf,
    /// How long finished events are kept, in milliseconds.
    pub retention_ms: u64,
    /// Bytes on disk past which new events are refused.
    pub size_bytes_max: u64,
    /// Free bytes of the file system below which new events are refused; `None`: a share of it.
    pub free_bytes_min: Option<u64>,
    /// When an event counts as stored.
    pub durability: Durability,
}

/// When an event counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After fsync.
    Fsync,
    /// After the write; an fsync follows at an interval. A power cut can lose what came since.
    Interval,
}

/// `[endpoint.NAME]`, with what it takes from `[delivery]`.
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// Where its deliveries go: `http` or `https`, with a host, without userinfo and fragment.
    pub url: url::Url,
    /// The event types it takes.
    pub events: TypeFilter,
    /// How its deliveries are signed, in the order of the config's secrets; empty: unsigned.
    pub signing: Vec<Scheme>,
    /// What the body looks like.
    pub format: Format,
    /// Its own headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Statuses that are not retried.
    pub permanent: Vec<u16>,
    /// TLS towards it, beyond the usual roots.
    pub tls: Option<EndpointTls>,
    /// Time for a whole attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Most requests in flight.
    pub in_flight_max: u32,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Networks that may be dialled though they are private, loopback, link-local …
    pub allow_networks: Vec<IpNet>,
    /// How much of an answer's body is kept, in bytes.
    pub response_bytes_max: usize,
    /// `order`
    pub order: Order,
    /// `on_dead`
    pub on_dead: OnDead,
    /// `rate_limit`
    pub rate_limit: Option<RateLimit>,
    /// `breaker`; `None`: off.
    pub breaker: Option<BreakerRules>,
    /// `disable_after`, in milliseconds; `None`: off.
    pub disable_after_ms: Option<u64>,
}

/// `[source.NAME]`
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// How its requests are verified.
    pub verify: Verification,
    /// Where the type of its events stands, less the name before it; the first place that has one counts. Empty: nowhere.
    pub event_type: Vec<Pick>,
    /// Where the id stands by which a repeat is known; the first place that has one counts. Empty: repeats are not known.
    pub dedup: Vec<Pick>,
    /// Where the ordering key stands; the first place that has one counts.
    pub key: Vec<Pick>,
    /// Who may post; empty: everybody.
    pub allow_networks: Vec<IpNet>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Proxies,
    /// What a third party gets once its event is durable.
    pub respond: Respond,
    /// How many verified requests are taken; further ones get 429.
    pub rate_limit: Option<RateLimit>,
    /// The URL that the third party calls, without a query; only Twilio signs it. `None`: it is made of the request.
    pub public_url: Option<url::Url>,
    /// What a `hub.challenge` request must show; `None`: such requests are refused.
    pub verify_token: Option<Secret>,
}

/// `verify` of a source.
#[derive(Debug)]
pub enum Verification {
    /// `scheme = "none"`: whoever reaches the listener may post.
    Unverified,
    /// By one scheme under each of the secrets: any that fits is enough.
    Schemes(Vec<Scheme>),
}

/// `respond` of a source.
#[derive(Clone, PartialEq, Eq)]
pub struct Respond {
    /// The status, 2xx.
    pub status: StatusCode,
    /// The body's content type.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

/// What a delivery's body looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"type","timestamp","data"}`
    Standard,
    /// The data alone, byte for byte.
    Raw,
    /// A CloudEvents 1.0 structured-mode JSON object.
    CloudEvents,
}

/// `tls` of an endpoint: PEM files, read and parsed when the config is checked.
#[derive(Debug)]
pub struct EndpointTls {
    /// Roots to trust instead of the usual ones; empty: the usual ones.
    pub ca: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// The client certificate's chain and key.
    pub client: Option<(Vec<rustls::pki_types::CertificateDer<'static>>, rustls::pki_types::PrivateKeyDer<'static>)>,
}

#[cfg(test)]
mod tests;
