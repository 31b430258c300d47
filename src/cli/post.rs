//! Requests to any URL: what `sign --post` makes, and what `listen --forward` passes on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{Full, LengthLimitError};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::time::timeout;
use url::{Position, Url};

use super::exchange::{Broken, dial_tcp, exchange, shake_hands};
use super::failure::Failure;
use super::tls::{self, Met, Trust};
use crate::limits;

/// Whom to trust where the URL is `https`.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS towards an https URL")]
pub(super) struct TlsArgs {
    /// A PEM file with the authorities to trust [default: the usual ones]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// A PEM file with the client certificate to show
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,

    /// A PEM file with the private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
}

/// Reads the URL that requests go to; for clap.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let expected = "expected a URL such as http://127.0.0.1:3000/hooks";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("{expected}, http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{expected}, without a user; give one as a header"));
    }
    Ok(url)
}

/// Where requests go, and whom to trust there.
#[derive(Debug)]
pub(super) struct Destination {
    url: Url,
    authority: String,
    /// There where the URL is `https`.
    tls: Option<Arc<ClientConfig>>,
    answer_bytes_max: usize,
    answer_ms_max: u64,
}

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub(super) enum PostError {
    /// Nobody listens there.
    #[error("nobody answers at {authority} ({cause})")]
    Unreached {
        /// Where.
        authority: String,
        /// What connecting met.
        cause: io::Error,
    },
    /// TLS did not come about.
    #[error("{authority} could not be reached over TLS: {met}")]
    Tls {
        /// Where.
        authority: String,
        /// Why not, and what to do.
        met: Met,
    },
    /// The connection broke off, or what came was no HTTP.
    #[error("the connection to {authority} broke off before an answer came ({cause})")]
    Broken {
        /// Where.
        authority: String,
        /// What it met.
        cause: String,
    },
    /// No answer in time.
    #[error("{authority} gave no answer within {} s", ms_max / 1000)]
    Late {
        /// Where.
        authority: String,
        /// The time it had.
        ms_max: u64,
    },
    /// A longer answer than is read.
    #[error("the answer of {authority} has more than {bytes_max} bytes")]
    Long {
        /// Where.
        authority: String,
        /// The limit.
        bytes_max: usize,
    },
}

impl Destination {
    /// A URL that [`parse_url`] has taken; answers are read up to `answer_bytes_max` and waited for `answer_ms_max`.
    pub(super) fn new(url: Url, tls: &TlsArgs, answer_bytes_max: usize, answer_ms_max: u64) -> Result<Self, Failure> {
        let is_https = url.scheme() == "https";
        if !is_https && (tls.ca.is_some() || tls.cert.is_some()) {
            return Err(Failure::usage(format!("--ca and --cert are for https, and the URL is {url}")));
        }
        let tls = if is_https {
            let trust = tls.ca.as_deref().map_or(Ok(Trust::Usual), Trust::authorities)?;
            let identity = match (&tls.cert, &tls.cert_key) {
                (Some(cert), Some(key)) => Some(tls::identity(cert, key)?),
                _ => None,
            };
            Some(trust.settings(identity)?)
        } else {
            None
        };
        let authority = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => return Err(Failure::usage(format!("{url} names no host"))),
        };
        Ok(Self { url, authority, tls, answer_bytes_max, answer_ms_max })
    }

    /// The URL.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The URL, with this query where it has none of its own.
    pub(super) fn url_with(&self, query: Option<&str>) -> Url {
        let mut url = self.url.clone();
        if url.query().is_none() {
            url.set_query(query);
        }
        url
    }

    /// Sends a request to `url`, which differs from this destination's in its query at most, and reads its answer.
    pub(super) async fn send(
        &self,
        url: &Url,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Response<()>, Bytes), PostError> {
        let answer = self.connect_and_send(url, method, headers, body);
        let late = || PostError::Late { authority: self.authority.clone(), ms_max: self.answer_ms_max };
        timeout(Duration::from_millis(self.answer_ms_max), answer).await.map_err(|_| late())?
    }

    async fn connect_and_send(
        &self,
        url: &Url,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Response<()>, Bytes), PostError> {
        let mut request = Request::builder().method(method).uri(&url[Position::BeforePath..Position::AfterQuery]);
        if let Some(all) = request.headers_mut() {
            *all = headers;
            // As browsers do: the port only where it is not the usual one.
            let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
            all.insert(HOST, host.map_err(|error| self.broken(&error))?);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&error))?;
        let unreached = |cause| PostError::Unreached { authority: self.authority.clone(), cause };
        let stream = dial_tcp(&self.authority).await.map_err(unreached)?;
        let exchanged = match &self.tls {
            None => exchange(stream, request, self.answer_bytes_max).await,
            Some(settings) => match shake_hands(settings, &self.authority, stream).await {
                Ok(stream) => exchange(stream, request, self.answer_bytes_max).await,
                Err(error) => Err(error),
            },
        };
        exchanged.map_err(|error: Broken| self.broken(&*error))
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> PostError {
        let authority = self.authority.clone();
        if error.is::<LengthLimitError>() {
            return PostError::Long { authority, bytes_max: self.answer_bytes_max };
        }
        if let Some(met) = Met::below(error) {
            return PostError::Tls { authority, met };
        }
        let cause = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        PostError::Broken { authority, cause }
    }
}

impl PostError {
    /// Whether it is the answer that did not come in time.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Late { .. })
    }
}

/// How long a request of `sign --post` waits for its answer: as long as any other command.
pub(super) const POST_MS_MAX: u64 = limits::CLI_ANSWER_MS_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_web_address_is_a_destination() {
        for good in ["http://127.0.0.1:3000", "https://example.com/hooks?a=b", "http://[::1]:8080/x"] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:3000", "localhost:3000", "ftp://example.com/", "http://", "http://a:b@example.com/", ""]
        {
            let why = parse_url(bad).unwrap_err();
            assert!(why.contains("http://127.0.0.1:3000/hooks"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_query_is_taken_over_where_there_is_none() {
        let none = TlsArgs { ca: None, cert: None, cert_key: None };
        let to = |text| Destination::new(parse_url(text).unwrap(), &none, 1, 1).unwrap();
        assert_eq!(to("http://a/b").url_with(Some("c=%20d")).as_str(), "http://a/b?c=%20d");
        assert_eq!(to("http://a/b?x=y").url_with(Some("c=d")).as_str(), "http://a/b?x=y");
        assert_eq!(to("http://a/b").url_with(None).as_str(), "http://a/b");
        assert_eq!(to("http://[::1]/b").authority, "[::1]:80");
    }
}
