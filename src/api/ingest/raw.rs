//! Events as any body at all: `POST /v1/raw/{type}?id=&key=`.

use hyper::header::HeaderMap;

use super::draft::Draft;
use crate::api::query::Query;
use crate::front::body::Body;
use crate::front::problem::{Problem, ProblemKind};
use crate::intake::content::{self, UNKNOWN, content_type, traceparent};
use crate::model::text::{EventId, EventType, OrderingKey};

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
            content: content::content(self.content_type, body),
            traceparent: self.traceparent,
            cloud_attributes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use hyper::header::{CONTENT_TYPE, HeaderValue};

    use super::*;
    use crate::front::body::{self, Holdings};
    use crate::limits;

    async fn body(text: &'static [u8]) -> Body {
        body::read(&HeaderMap::new(), Full::new(Bytes::from_static(text)), 1000, &Holdings::new("api", 1000))
            .await
            .unwrap()
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
