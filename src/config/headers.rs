//! An endpoint's own headers.

use hyper::header::{HeaderName, HeaderValue};

use super::reader::{Item, Reading, named};
use crate::limits;

/// Headers that webhookd sets on each delivery, with who decides about them.
const SET_BY_US: &[(&str, &str)] = &[
    ("content-type", "it follows from the event and from `format`"),
    ("content-length", "it follows from the body"),
    ("content-encoding", "bodies are sent as they are"),
    ("host", "it follows from the url"),
    ("user-agent", "it names webhookd and its version"),
    ("traceparent", "it comes with the event"),
];

/// Headers that speak about the connection and not about the request (RFC 9110, section 7.6.1; RFC 9113, section 8.2.2).
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `headers`. Their values are never shown: they may be credentials.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let entries = named(reading, item, "a table of headers, such as { \"x-tenant\" = \"acme\" }");
    if entries.len() > limits::ENDPOINT_HEADERS_MAX {
        let max = limits::ENDPOINT_HEADERS_MAX;
        reading.error(item, format!("has {} headers, at most {max} are allowed", entries.len()));
        return Vec::new();
    }
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, item) in entries {
        let Some(header) = read_name(reading, &item, name) else { continue };
        if headers.iter().any(|(other, _)| *other == header) {
            reading.error(&item, "the header is given twice; upper and lower case are the same");
            continue;
        }
        headers.extend(read_value(reading, &item).map(|value| (header, value)));
    }
    headers
}

fn read_name(reading: &mut Reading<'_>, item: &Item<'_>, name: &str) -> Option<HeaderName> {
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        reading.error(item, "not a header name: use letters, digits and - as in \"x-tenant\"");
        return None;
    };
    let name = header.as_str();
    let refusal = if let Some((_, why)) = SET_BY_US.iter().find(|(ours, _)| *ours == name) {
        format!("webhookd sets this header itself: {why}; remove it here")
    } else if name.starts_with("webhook-") {
        "names that start with webhook- belong to the signed headers that webhookd sets itself; choose another"
            .to_owned()
    } else if OF_THE_CONNECTION.contains(&name) {
        "this header speaks about the connection, which webhookd manages itself; remove it here".to_owned()
    } else {
        return Some(header);
    };
    reading.error(item, refusal);
    None
}

fn read_value(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<HeaderValue> {
    let Some(text) = item.value.as_str() else {
        reading.expected_unseen(item, "a string");
        return None;
    };
    if text.len() > limits::ENDPOINT_HEADER_BYTES_MAX {
        let max = limits::ENDPOINT_HEADER_BYTES_MAX;
        reading.error(item, format!("the value has {} bytes, at most {max} are allowed", text.len()));
        return None;
    }
    // Visible ASCII, spaces and tabs: other bytes are obsolete in a header (RFC 9110, section 5.5).
    let Some(mut value) = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()) else {
        reading.error(item, "the value has a character that no header can carry; use visible ASCII and spaces");
        return None;
    };
    // Kept out of Debug output and of HTTP/2's compression tables.
    value.set_sensitive(true);
    Some(value)
}
