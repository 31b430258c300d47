//! A small client of the API: one request on one connection, over TCP, TLS or a unix socket, each step with a time limit.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use url::{Position, Url};

use super::exchange::{dial, dial_tcp, exchange, shake_hands};
use super::failure::Failure;
use super::tls::Met;
use crate::limits;

/// Where the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `http://host:port`
    Http {
        /// Host and port, as in the `host` header.
        authority: String,
    },
    /// `https://host:port`
    Https {
        /// Host and port, as in the `host` header.
        authority: String,
    },
    /// `unix:/path`
    Unix(PathBuf),
}

impl Address {
    /// Reads what `--api` takes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err("expected an absolute path after unix:, as in unix:/run/webhookd/api.sock".to_owned())
            };
        }
        let expected = "expected http://HOST:PORT, https://HOST:PORT or unix:/PATH";
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&full).map_err(|error| format!("{expected}: {error}"))?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let bare = bare && url.username().is_empty() && url.password().is_none();
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if bare && url.scheme() == "http" => {
                Ok(Self::Http { authority: format!("{host}:{port}") })
            }
            (Some(host), Some(port)) if bare && url.scheme() == "https" => {
                Ok(Self::Https { authority: format!("{host}:{port}") })
            }
            _ => Err(format!("{expected}, without a path")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { authority } => write!(f, "http://{authority}"),
            Self::Https { authority } => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a request to the API came to nothing.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    /// Nobody listens there.
    #[error(
        "no daemon answers at {address} ({cause}): start it with `webhookd run --config FILE`, or name another with --api"
    )]
    NoDaemon {
        /// Where.
        address: Address,
        /// What connecting met.
        cause: io::Error,
    },
    /// TLS did not come about. The request was not carried out.
    #[error("{address} could not be reached over TLS: {met}")]
    Tls {
        /// Where.
        address: Address,
        /// Why not, and what to do.
        met: Met,
    },
    /// The connection broke off, or what came was no HTTP. Whether the request was carried out is unknown.
    #[error("the connection to {address} broke off before an answer came ({cause})")]
    Broken {
        /// Where.
        address: Address,
        /// What it met.
        cause: String,
    },
    /// No answer in time. Whether the request was carried out is unknown.
    #[error("{address} gave no answer within {} s", limits::CLI_ANSWER_MS_MAX / 1000)]
    Timeout {
        /// Where.
        address: Address,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(Problem),
    /// An answer that this version does not understand.
    #[error(
        "the answer of {address} is not what this version of webhookd expects ({cause}): is it a webhookd of another version?"
    )]
    Unexpected {
        /// Where.
        address: Address,
        /// What was wrong with it.
        cause: String,
    },
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::failed(error)
    }
}

/// A refusal: the answer's status and its `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Problem {
    /// The status of the answer.
    #[serde(skip)]
    pub(super) status: u16,
    /// What kind of problem.
    #[serde(default)]
    pub(super) title: String,
    /// What it is this time.
    #[serde(default)]
    pub(super) detail: Option<String>,
    /// The field at fault, as a JSON pointer.
    #[serde(default)]
    pub(super) pointer: Option<String>,
    /// All faults, where there are several.
    #[serde(default)]
    pub(super) errors: Vec<Fault>,
    /// `Retry-After` in seconds.
    #[serde(skip)]
    pub(super) retry_after_s: Option<u64>,
}

/// One of a refusal's faults.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fault {
    /// What is wrong.
    #[serde(default)]
    pub(super) detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.title.is_empty() { "the daemon refused" } else { &self.title };
        write!(f, "{title}")?;
        if let Some(detail) = self.detail.as_deref().filter(|detail| *detail != title) {
            write!(f, ": {detail}")?;
        }
        if let Some(pointer) = self.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(f, " (at {pointer})")?;
        }
        write!(f, " [HTTP {}]", self.status)?;
        match self.status {
            401 => write!(f, ": give a token with --token-file"),
            503 => match self.retry_after_s {
                Some(seconds) => write!(f, ": try again in {seconds} s"),
                None => write!(f, ": try again later"),
            },
            _ => Ok(()),
        }
    }
}

/// A daemon's API, as the command line sees it.
#[derive(Clone, Debug)]
pub(super) struct Api {
    address: Address,
    bearer: Option<HeaderValue>,
    /// There where the address is `https`.
    tls: Option<Arc<ClientConfig>>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The body.
    pub(super) body: Bytes,
    address: Address,
}

impl Answer {
    /// The body, decoded.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let unexpected =
            |cause: serde_json::Error| ApiError::Unexpected { address: self.address.clone(), cause: cause.to_string() };
        serde_json::from_slice(&self.body).map_err(unexpected)
    }
}

impl Api {
    /// The daemon at `address`; `bearer` is a whole `Bearer …` value.
    pub(super) fn new(address: Address, bearer: Option<HeaderValue>) -> Self {
        Self { address, bearer, tls: None }
    }

    /// The same with these settings for `https`.
    pub(super) fn with_tls(self, tls: Arc<ClientConfig>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where it answers.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for something.
    ///
    /// # Errors
    /// Also for every answer that is no 2xx; see [`ApiError`].
    pub(super) async fn get(&self, path: &str) -> Result<Answer, ApiError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Hands in a JSON document.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(super) async fn post(&self, path: &str, json: impl Into<Bytes>) -> Result<Answer, ApiError> {
        self.request(Method::POST, path, json.into()).await
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ApiError> {
        let answer =
            timeout(Duration::from_millis(limits::CLI_ANSWER_MS_MAX), self.connect_and_send(method, path, body));
        let (head, body) = answer.await.map_err(|_| ApiError::Timeout { address: self.address.clone() })??;
        if head.status().is_success() {
            return Ok(Answer { body, address: self.address.clone() });
        }
        Err(ApiError::Refused(problem(&head, &body)))
    }

    async fn connect_and_send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<()>, Bytes), ApiError> {
        let host = match &self.address {
            Address::Http { authority } | Address::Https { authority } => authority.as_str(),
            Address::Unix(_) => "localhost",
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        request = request.header(USER_AGENT, concat!("webhookd-cli/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&error))?;
        let exchanged = match &self.address {
            Address::Http { authority } => {
                let stream = self.dialled(dial_tcp(authority).await)?;
                exchange(stream, request, limits::CLI_ANSWER_BYTES_MAX).await
            }
            Address::Https { authority } => {
                let stream = self.dialled(dial_tcp(authority).await)?;
                exchange(self.secured(authority, stream).await?, request, limits::CLI_ANSWER_BYTES_MAX).await
            }
            Address::Unix(path) => {
                let stream = self.dialled(dial(UnixStream::connect(path)).await)?;
                exchange(stream, request, limits::CLI_ANSWER_BYTES_MAX).await
            }
        };
        exchanged.map_err(|error| self.broken(&*error))
    }

    fn dialled<S>(&self, connected: io::Result<S>) -> Result<S, ApiError> {
        connected.map_err(|cause| ApiError::NoDaemon { address: self.address.clone(), cause })
    }

    async fn secured(&self, authority: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, ApiError> {
        let Some(settings) = &self.tls else { return Err(self.broken(&io::Error::other("TLS is not set up"))) };
        shake_hands(settings, authority, stream).await.map_err(|error| match Met::below(&*error) {
            Some(met) => ApiError::Tls { address: self.address.clone(), met },
            None => self.broken(&*error),
        })
    }

    fn broken(&self, cause: &(dyn std::error::Error + 'static)) -> ApiError {
        // A server of TLS 1.3 says what it thinks of a client's certificate after the handshake, before it reads a request.
        if let Some(met) = Met::below(cause).filter(Met::is_refusal) {
            return ApiError::Tls { address: self.address.clone(), met };
        }
        let mut text = cause.to_string();
        if let Some(source) = cause.source() {
            text = format!("{text}: {source}");
        }
        ApiError::Broken { address: self.address.clone(), cause: text }
    }
}

fn problem(head: &Response<()>, body: &[u8]) -> Problem {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_else(|_| {
        // Something else than webhookd answers there, or something between us and it.
        let reason = head.status().canonical_reason().unwrap_or("the request was refused");
        Problem {
            status: 0,
            title: reason.to_owned(),
            detail: None,
            pointer: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    });
    problem.status = head.status().as_u16();
    let retry_after = head.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    problem.retry_after_s = retry_after.and_then(|value| value.trim().parse().ok());
    problem
}

impl Problem {
    /// Whether the daemon asks to come back later.
    pub(super) fn is_later(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE.as_u16()
    }

    /// Whether what was handed in, or named, has faults.
    pub(super) fn is_faulty(&self) -> bool {
        self.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16()
    }

    /// Whether the body was too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16()
    }
}

/// A path of the API with its query, every part encoded.
pub(super) fn path(segments: &[&str], query: &[(&str, String)]) -> String {
    let mut url = Url::parse("http://localhost").expect("this text is a URL");
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url[Position::BeforePath..].to_owned()
}

#[cfg(test)]
mod tests;
