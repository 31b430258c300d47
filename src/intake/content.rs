//! Bodies as content, and what the headers say of them.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{scan, trace};
use crate::front::body::Body;
use crate::front::problem::{Problem, ProblemKind};
use crate::limits;
use crate::model::event::Content;

/// The content type of a body whose sender gave none (RFC 9110, section 8.3).
pub const UNKNOWN: &str = "application/octet-stream";

/// A whole body as content.
pub fn content(content_type: Box<str>, body: &Body) -> Content {
    let json = is_json_type(&content_type) && scan::is_json(body.bytes());
    Content { content_type, json, body: body.whole() }
}

/// The request's `traceparent`, where it is one.
pub fn traceparent(headers: &HeaderMap) -> Option<Box<str>> {
    headers.get("traceparent")?.to_str().ok().and_then(trace::traceparent)
}

/// The request's content type as it came.
pub fn content_type(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
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
pub fn is_content_type(text: &str) -> bool {
    fn token(part: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    }
    text.len() <= limits::CONTENT_TYPE_BYTES_MAX
        && HeaderValue::from_str(text).is_ok_and(|value| value.to_str().is_ok())
        && media_type(text).split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// A content type without its parameters.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a content type says JSON: `application/json`, or any type that ends in `+json` (RFC 6839).
pub fn is_json_type(content_type: &str) -> bool {
    let media_type = media_type(content_type).to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}
