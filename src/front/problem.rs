//! Problems: what the API answers when it does not do what it was asked (RFC 9457).
//!
//! The set of kinds is closed and stands here, in one place. A kind's `type` is `urn:webhookd:problem:<word>`; programs
//! may rely on it and on the status, never on the texts.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode, Version};
use serde::{Serialize, Serializer};

use super::answer;
use crate::config::Scope;
use crate::limits;
use crate::model::text::EventId;
use crate::observe::audit::Outcome;
use crate::outbox::{AcceptError, ReadError};

/// What every kind's `type` begins with.
pub const TYPE_PREFIX: &str = "urn:webhookd:problem:";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal $status:ident $title:literal,)*) => {
        /// The kinds of problems: a closed set, each with its word, status and title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word: the end of the problem's `type`, and the label of the metric.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The title, the same for every problem of the kind.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is HTTP, but not one that can be answered: no or two `Host`, a broken percent-encoding.
    BadRequest = "bad-request" BAD_REQUEST "The request is malformed",
    /// A query parameter is unknown, repeated or has a value that does not fit.
    InvalidParameter = "invalid-parameter" BAD_REQUEST "A query parameter is not acceptable",
    /// A request header has a value that does not fit.
    InvalidHeader = "invalid-header" BAD_REQUEST "A request header is not acceptable",
    /// The body is no JSON: its syntax, its UTF-8, a lone surrogate, or it is nested too deeply.
    InvalidJson = "invalid-json" BAD_REQUEST "The body is not acceptable JSON",
    /// The body broke off, or its framing is wrong.
    BrokenBody = "broken-body" BAD_REQUEST "The body did not arrive whole",
    /// Plain HTTP was spoken where TLS is.
    TlsNeeded = "tls-needed" BAD_REQUEST "This port speaks TLS",
    /// A token is needed and none, or none that is known, was sent.
    Unauthorized = "unauthorized" UNAUTHORIZED "A valid token is needed",
    /// The token's scope does not reach so far.
    InsufficientScope = "insufficient-scope" FORBIDDEN "The token does not allow this",
    /// The signature of an inbound request does not hold; why is in the log.
    SignatureRefused = "signature-refused" UNAUTHORIZED "The request could not be verified",
    /// The client's address is not among those that may post to the source.
    AddressRefused = "address-refused" FORBIDDEN "This address may not post here",
    /// A request for a `hub.challenge` does not show the source's `verify_token`.
    ChallengeRefused = "challenge-refused" FORBIDDEN "The challenge is not answered",
    /// More requests came than the source's `rate_limit` allows.
    TooManyRequests = "too-many-requests" TOO_MANY_REQUESTS "Too many requests",
    /// A web page of another origin sent the request.
    CrossOrigin = "cross-origin" FORBIDDEN "Requests from other web pages are refused",
    /// The request is for a host that is none of this API's.
    UnknownHost = "unknown-host" MISDIRECTED_REQUEST "The request is for another host",
    /// Nothing is at this path.
    NotFound = "not-found" NOT_FOUND "There is nothing here",
    /// No event has this id.
    EventNotFound = "event-not-found" NOT_FOUND "There is no such event",
    /// No endpoint of the config has this name.
    EndpointNotFound = "endpoint-not-found" NOT_FOUND "There is no such endpoint",
    /// The path is there, the method is not.
    MethodNotAllowed = "method-not-allowed" METHOD_NOT_ALLOWED "The method is not allowed here",
    /// The body took too long.
    RequestTimeout = "request-timeout" REQUEST_TIMEOUT "The request took too long to arrive",
    /// Another event is known under this id or `Idempotency-Key`.
    IdConflict = "id-conflict" CONFLICT "Another event is known under this id",
    /// No delivery may be attempted any more.
    AttemptsExhausted = "attempts-exhausted" CONFLICT "The deliveries have had all the attempts there are",
    /// The daemon was not started from a file, so there is none to read anew.
    NoConfigFile = "no-config-file" CONFLICT "There is no config file",
    /// The body is larger than `max_body`.
    BodyTooLarge = "body-too-large" PAYLOAD_TOO_LARGE "The body is too large",
    /// The body is compressed.
    UnsupportedEncoding = "unsupported-encoding" UNSUPPORTED_MEDIA_TYPE "Compressed bodies are not read",
    /// A CloudEvents format other than JSON.
    UnsupportedFormat = "unsupported-format" UNSUPPORTED_MEDIA_TYPE "This event format is not read",
    /// The request line is too long.
    UriTooLong = "uri-too-long" URI_TOO_LONG "The request line is too long",
    /// The request line and the headers are too long, or there are too many headers.
    HeadTooLarge = "head-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE "The request head is too large",
    /// A field is missing or has a value that does not fit.
    InvalidField = "invalid-field" UNPROCESSABLE_ENTITY "A field is not acceptable",
    /// A field that nobody knows, or one that stands there twice.
    UnknownField = "unknown-field" UNPROCESSABLE_ENTITY "A field is unknown or repeated",
    /// An endpoint that the config does not name.
    UnknownEndpoint = "unknown-endpoint" UNPROCESSABLE_ENTITY "An endpoint is unknown",
    /// A batch with no event, or with too many.
    BatchSize = "batch-size" UNPROCESSABLE_ENTITY "A batch holds 1 to 1000 events",
    /// The config has faults.
    InvalidConfig = "invalid-config" UNPROCESSABLE_ENTITY "The config is refused",
    /// Something stored could not be read.
    StorageUnreadable = "storage-unreadable" INTERNAL_SERVER_ERROR "The storage could not be read",
    /// The daemon opens its storage, or stops.
    NotReady = "not-ready" SERVICE_UNAVAILABLE "webhookd is not ready",
    /// More is under way than there is room for.
    Busy = "busy" SERVICE_UNAVAILABLE "webhookd is busy",
    /// The listener, or the client's address, has all the connections it may have.
    TooManyConnections = "too-many-connections" SERVICE_UNAVAILABLE "There are too many connections",
    /// The data folder has reached its limit.
    StorageFull = "storage-full" SERVICE_UNAVAILABLE "The storage is full",
    /// Part of the storage is being mended, or cannot be opened just now.
    StorageUnavailable = "storage-unavailable" SERVICE_UNAVAILABLE "The storage cannot be read just now",
    /// The write or the fsync failed.
    StorageFailed = "storage-failed" SERVICE_UNAVAILABLE "The storage could not be written",
}

impl Serialize for ProblemKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{TYPE_PREFIX}{}", self.word()))
    }
}

/// One thing that is wrong with a request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its kind.
    #[serde(skip)]
    pub kind: ProblemKind,
    /// What is wrong, what was expected.
    pub detail: String,
    /// Where, as a JSON pointer (RFC 6901) into the body; `None` where no field of the body is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// The faults of one request, as many as are shown.
#[derive(Debug, Default)]
pub struct Faults {
    shown: Vec<Fault>,
    total: usize,
}

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, kind: ProblemKind, pointer: impl Into<Option<String>>, detail: impl fmt::Display) {
        self.total += 1;
        if self.shown.len() < limits::FAULTS_SHOWN_MAX {
            self.shown.push(Fault { kind, detail: detail.to_string(), pointer: pointer.into() });
        }
    }

    /// How many there were, shown or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// `value`, if there were no faults; it is only ever left out with a fault.
    ///
    /// # Errors
    /// The problem that tells the faults.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Problem> {
        match (self.into_problem(), value) {
            (None, Some(value)) => Ok(value),
            (Some(problem), _) => Err(problem),
            (None, None) => Err(Problem::new(ProblemKind::InvalidField, "the body is not acceptable")),
        }
    }

    /// The problem that tells them; `None` where there are none.
    #[must_use]
    pub fn into_problem(self) -> Option<Problem> {
        let first = self.shown.first()?.clone();
        let mut problem = Problem::new(first.kind, first.detail);
        problem.pointer = first.pointer;
        if self.total > 1 {
            problem.errors = self.shown;
        }
        Some(problem)
    }
}

/// A problem, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// What is wrong with this very request.
    pub detail: String,
    /// Where in the body, as a JSON pointer.
    pub pointer: Option<String>,
    /// The id of the event that is known, for [`ProblemKind::IdConflict`].
    pub id: Option<EventId>,
    /// All faults that are shown, where there is more than one.
    pub errors: Vec<Fault>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// `Allow`, for [`ProblemKind::MethodNotAllowed`].
    pub allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(rename = "type")]
    kind: ProblemKind,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    /// A problem without a pointer.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let retry_after_s = (kind.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { kind, detail: detail.into(), pointer: None, id: None, errors: Vec::new(), retry_after_s, allow: None }
    }

    /// The same with a pointer into the body.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// The same with another `Retry-After`.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// No event has the id that was asked for.
    #[must_use]
    pub fn event_not_found(id: &str) -> Self {
        Self::new(ProblemKind::EventNotFound, format!("no event with the id {} is stored", quoted(id)))
    }

    /// No endpoint has the name that was asked for.
    #[must_use]
    pub fn endpoint_not_found(name: &str) -> Self {
        Self::new(ProblemKind::EndpointNotFound, format!("the config has no [endpoint.*] named {}", quoted(name)))
    }

    /// A token with too small a scope.
    #[must_use]
    pub fn insufficient_scope(has: Scope, needs: Scope) -> Self {
        let detail = format!("this needs a token of scope {}, the one sent has {}", scope_word(needs), scope_word(has));
        Self::new(ProblemKind::InsufficientScope, detail)
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome { word: self.kind.word(), status: Some(self.kind.status().as_u16()) }
    }

    /// Whether the connection can carry no further request: the rest of the body is not read.
    #[must_use]
    pub fn closes(&self) -> bool {
        matches!(self.kind, ProblemKind::BodyTooLarge | ProblemKind::RequestTimeout | ProblemKind::BrokenBody)
    }

    /// It as JSON: the body of its answer.
    ///
    /// # Panics
    /// Never: everything in a problem can be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let shown = Shown {
            kind: self.kind,
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            pointer: self.pointer.as_deref(),
            id: self.id.as_ref(),
            errors: &self.errors,
        };
        serde_json::to_vec(&shown).expect("texts and numbers are always writable as JSON")
    }

    /// It as a whole answer in bytes of HTTP/1.1, after which the connection is closed: for whoever has sent no request that
    /// could be read.
    pub(super) fn by_hand(&self) -> Vec<u8> {
        let (status, body) = (self.kind.status(), self.to_json());
        let retry_after = self.retry_after_s.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n{}{retry_after}\
             content-length: {}\r\n\r\n",
            answer::fields_by_hand(),
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer
    }

    /// The answer that carries it to a request of this version. Where the rest of the body is not read, HTTP/1 is told that the
    /// connection ends; over HTTP/2 the stream alone does.
    #[must_use]
    pub fn into_response_to(self, version: Version) -> Response<Full<Bytes>> {
        let closes = self.closes() && version < Version::HTTP_2;
        let mut answer = self.into_response();
        if closes {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The answer that carries it.
    #[must_use]
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let body = self.to_json().into();
        let mut response = answer::with_body(self.kind.status(), "application/problem+json", body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match self.kind {
            ProblemKind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"webhookd\""));
            }
            ProblemKind::InsufficientScope => {
                let value = "Bearer realm=\"webhookd\", error=\"insufficient_scope\"";
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(value));
            }
            _ => {}
        }
        response
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Conflict { index: _, id } => {
                let detail = format!(
                    "the event {id} is known under this id or Idempotency-Key, with other content; use a new id for a new \
                     event, or send the same content to repeat one"
                );
                let mut problem = Self::new(ProblemKind::IdConflict, detail);
                problem.id = Some(id);
                problem
            }
            AcceptError::Full => {
                let detail =
                    "the data folder has reached [storage] max_size, or its disk has no room; nothing was stored";
                Self::new(ProblemKind::StorageFull, detail).retry_after_s(30)
            }
            AcceptError::Busy => {
                Self::new(ProblemKind::Busy, "too much waits to be written; nothing was stored, try again shortly")
            }
            AcceptError::Failed => {
                let detail = "the outbox could not be written or is stopping; nothing was acknowledged, send it again";
                Self::new(ProblemKind::StorageFailed, detail).retry_after_s(5)
            }
        }
    }
}

impl From<&ReadError> for Problem {
    /// The cause is for the log; a client can do nothing with it.
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) => {
                let detail = "part of the storage is being mended or cannot be opened just now; ask again shortly";
                Self::new(ProblemKind::StorageUnavailable, detail).retry_after_s(2)
            }
            _ => Self::new(
                ProblemKind::StorageUnreadable,
                "a stored record could not be read; the daemon's log says why",
            ),
        }
    }
}

/// The word of a scope.
#[must_use]
pub fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Send => "send",
        Scope::Read => "read",
        Scope::Admin => "admin",
    }
}

/// A text of the client's as it may stand in a detail: quoted, without control characters, not too long.
#[must_use]
pub fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `parent` and one more step of a JSON pointer.
#[must_use]
pub fn pointer(parent: &str, step: &str) -> String {
    format!("{parent}/{}", step.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use std::collections::HashSet;

    use hyper::header::CONTENT_TYPE;

    use super::*;

    async fn body(response: Response<Full<Bytes>>) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[test]
    fn words_are_unique_and_every_kind_is_an_error() {
        let words: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(words.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert!(kind.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn one_fault_is_told_at_the_top_and_several_are_listed() {
        let mut faults = Faults::default();
        faults.add(ProblemKind::UnknownField, pointer("/17", "a/b~c"), "is unknown");
        let response = Faults { shown: faults.shown.clone(), total: 1 }.into_problem().unwrap().into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let expected = serde_json::json!({
            "type": "urn:webhookd:problem:unknown-field", "title": "A field is unknown or repeated", "status": 422,
            "detail": "is unknown", "pointer": "/17/a~1b~0c",
        });
        assert_eq!(body(response).await, expected);

        for _ in 0..100 {
            faults.add(ProblemKind::InvalidField, None, "is wrong");
        }
        assert_eq!(faults.total(), 101);
        let shown = body(faults.into_problem().unwrap().into_response()).await;
        assert_eq!(shown["errors"].as_array().unwrap().len(), limits::FAULTS_SHOWN_MAX);
        assert_eq!(shown["errors"][1], serde_json::json!({"detail": "is wrong"}));
        assert!(Faults::default().into_problem().is_none());
    }

    #[test]
    fn what_the_outbox_refuses_says_when_to_come_again() {
        for (error, status) in [(AcceptError::Full, 503), (AcceptError::Busy, 503), (AcceptError::Failed, 503)] {
            let response = Problem::from(error).into_response();
            assert_eq!(response.status(), status);
            assert!(response.headers().contains_key(RETRY_AFTER));
        }
        let unavailable = Problem::from(&ReadError::Unavailable("it is being mended".to_owned())).into_response();
        assert_eq!(unavailable.status(), 503);
        assert!(unavailable.headers().contains_key(RETRY_AFTER));
        let id = EventId::parse("evt_1").unwrap();
        let conflict = Problem::from(AcceptError::Conflict { index: 3, id: id.clone() });
        assert_eq!((conflict.kind.status().as_u16(), conflict.id.as_ref()), (409, Some(&id)));
        assert!(!conflict.into_response().headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn what_a_client_sent_is_shown_short_and_without_control_characters() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"ü".repeat(81)), format!("\"{}\"…", "ü".repeat(80)));
    }
}
