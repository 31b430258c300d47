//! Events as any body at all: `POST /v1/raw/{type}?id=&key=`.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::draft::Draft;
use super::scan;
use super::trace;
use crate::api::query::Query;
use crate::front::body::Body;
use crate::front::problem::{Problem, ProblemKind};
use crate::limits;
use crate::model::event::Content;
use crate::model::text::{EventId, EventType, OrderingKey};

/// The content type of a body whose sender gave none (RFC 9110, section 8.3).
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// What stands beside the body.
#[derive(Debug)]
pub struct RawHead {
    event_type: EventType,
    id: Option<EventId>,
    key: Option<OrderingKey>,
    content_type: Box<str>,
    traceparent: Option<Box<str>>,
}

impl RawHead {
    /// Reads path, query and headers, so that a request that is wrong in these is refused before its body is read.
    ///
    /// # Errors
    /// 400 or 422, naming what does not fit.
    pub fn read(event_type: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        let event_type = EventType::parse(event_type)
            .map_err(|error| Problem::new(ProblemKind::InvalidField, format!("the event type in the path {error}")))?;
        let query = Query::parse(query, &["id", "key"])?;
        Ok(Self {
            event_type,
            id: query.read("id", EventId::parse)?,
            key: query.read("key", OrderingKey::parse)?,
            content_type: content_type(headers)?.unwrap_or_else(|| UNKNOWN.into()),
            traceparent: traceparent(headers),
        })
    }

    /// The event, with its body kept byte for byte.
    #[must_use]
    pub fn with(self, body: &Body) -> Draft {
        Draft {
            id: self.id,
            event_type: self.event_type,
            key: self.key,
            timestamp: None,
            deliver_at: None,
            endpoints: None,
            content: content(self.content_type, body),
            traceparent: self.traceparent,
            cloud_attributes: None,
        }
    }
}

/// A whole body as content.
pub(super) fn content(content_type: Box<str>, body: &Body) -> Content {
    let json = is_json_type(&content_type) && scan::is_json(body.bytes());
    Content { content_type, json, body: body.whole() }
}

/// The request's `traceparent`, where it is one.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<Box<str>> {
    headers.get("traceparent")?.to_str().ok().and_then(trace::traceparent)
}

/// The request's content type as it came.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok(text) if is_content_type(text) => Ok(Some(text.into())),
        _ => {
            let max = limits::CONTENT_TYPE_BYTES_MAX;
            let detail = format!("the header content-type must be a media type of at most {max} bytes of ASCII");
            Err(Problem::new(ProblemKind::InvalidHeader, detail))
        }
    }
}

/// Whether a text can be a content type: as long as allowed, `type/subtype` of tokens, and sendable as a header.
pub(super) fn is_content_type(text: &str) -> bool {
    fn token(part: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    }
    text.len() <= limits::CONTENT_TYPE_BYTES_MAX
        && HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok())
        && media_type(text).split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// A content type without its parameters.
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a content type says JSON: `application/json`, or any type that ends in `+json` (RFC 6839).
pub(super) fn is_json_type(content_type: &str) -> bool {
    let media_type = media_type(content_type).to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::front::body::{self, Holdings};

    async fn body(text: &'static [u8]) -> Body {
        body::read(&HeaderMap::new(), Full::new(Bytes::from_static(text)), 1000, &Holdings::new(1000)).await.unwrap()
    }

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[tokio::test]
    async fn bodies_are_kept_byte_for_byte_and_known_as_json_only_where_they_are() {
        let table: [(&str, &'static [u8], bool); 6] = [
            ("application/json", b" {\"a\":1.10} \n", true),
            ("application/vnd.github+json; charset=utf-8", b"[]", true),
            ("Application/JSON", b"null", true),
            ("application/json", b"{\"a\":", false),
            ("application/json", b"", false),
            ("text/plain", b"{}", false),
        ];
        for (content_type, bytes, json) in table {
            let head = RawHead::read("a.b", None, &headers(content_type)).unwrap();
            let draft = head.with(&body(bytes).await);
            assert_eq!((draft.content.json, &*draft.content.body), (json, bytes), "{content_type}");
            assert_eq!(&*draft.content.content_type, content_type);
        }
    }

    #[test]
    fn id_and_key_come_from_the_query() {
        let head = RawHead::read("orders/create", Some("id=a%2Fb&key=kunde%20%C3%BC"), &HeaderMap::new()).unwrap();
        assert_eq!(head.id.unwrap().as_str(), "a/b");
        assert_eq!(head.key.unwrap().as_str(), "kunde ü");
        assert_eq!((head.event_type.as_str(), &*head.content_type), ("orders/create", UNKNOWN));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long: &'static str = format!("text/{}", "x".repeat(limits::CONTENT_TYPE_BYTES_MAX)).leak();
        let table = [
            ("a b", None, HeaderMap::new(), ProblemKind::InvalidField, "the event type in the path"),
            ("a", Some("id=a.b"), HeaderMap::new(), ProblemKind::InvalidParameter, "id"),
            ("a", Some("id=a%0Ab"), HeaderMap::new(), ProblemKind::InvalidParameter, "id"),
            ("a", Some("key=a%00b"), HeaderMap::new(), ProblemKind::InvalidParameter, "key"),
            ("a", Some("endpoint=x"), HeaderMap::new(), ProblemKind::InvalidParameter, "\"endpoint\""),
            ("a", None, headers("nonsense"), ProblemKind::InvalidHeader, "content-type"),
            ("a", None, headers(long), ProblemKind::InvalidHeader, "content-type"),
        ];
        for (event_type, query, headers, kind, named) in table {
            let problem = RawHead::read(event_type, query, &headers).unwrap_err();
            assert_eq!(problem.kind, kind);
            assert!(problem.detail.contains(named), "{}", problem.detail);
        }
    }
}
