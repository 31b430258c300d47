//! `respond` of a source: what a third party gets once its event is durable.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::Respond;
use super::keys::RESPOND;
use super::reader::{Item, Reading, Table};
use crate::limits;

impl Default for Respond {
    fn default() -> Self {
        Self { status: StatusCode::OK, content_type: None, body: Bytes::new() }
    }
}

/// Reads `respond`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Respond> {
    let table = Table::open(reading, item, &RESPOND)?;
    let status = table.get("status").and_then(|item| read_status(reading, &item)).unwrap_or(StatusCode::OK);
    let content_type = table.get("content_type").map(|item| (read_content_type(reading, &item), item));
    let body = table.get("body").map(|item| (read_body(reading, &item), item));
    // RFC 9110, sections 15.3.5 and 15.3.6.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        let content_type = content_type.as_ref().map(|(_, item)| item);
        let body = body.as_ref().filter(|(body, _)| !body.is_empty()).map(|(_, item)| item);
        for item in content_type.into_iter().chain(body) {
            reading.error(item, format!("an answer with status {} has no body; remove it", status.as_u16()));
        }
    }
    Some(Respond {
        status,
        content_type: content_type.and_then(|(value, _)| value),
        body: body.map(|(body, _)| body).unwrap_or_default(),
    })
}

fn read_status(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<StatusCode> {
    // Anything else would have a third party send again what is stored already.
    let status = item.integer(reading, &(200..=299))?;
    u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
}

fn read_content_type(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<HeaderValue> {
    let what = "a content type such as \"application/json\"";
    let text = item.text(reading, what)?;
    let (kind, rest) = text.split_once('/').unwrap_or_default();
    let named = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    let subtype = rest.split(';').next().unwrap_or_default().trim_end();
    let value = HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.is_ascii() && text.len() <= limits::CONTENT_TYPE_BYTES_MAX && named(kind) && named(subtype));
    if value.is_none() {
        reading.expected(item, what);
    }
    value
}

fn read_body(reading: &mut Reading<'_>, item: &Item<'_>) -> Bytes {
    let Some(text) = item.text(reading, "a string") else { return Bytes::new() };
    if text.len() > limits::RESPOND_BODY_BYTES_MAX {
        let max = limits::RESPOND_BODY_BYTES_MAX;
        reading.error(item, format!("the body has {} bytes, at most {max} are allowed", text.len()));
        return Bytes::new();
    }
    Bytes::copy_from_slice(text.as_bytes())
}
