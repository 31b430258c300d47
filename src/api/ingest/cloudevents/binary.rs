//! Binary mode: attributes in `ce-` headers, data in the body.

use std::borrow::Cow;

use hyper::header::{HeaderMap, HeaderValue};

use super::attributes::{Attributes, Place};
use crate::api::ingest::draft::Draft;
use crate::api::query::percent_decode;
use crate::front::body::Body;
use crate::front::problem::{Faults, Problem};
use crate::intake::content;

/// Reads one event in binary mode.
///
/// # Errors
/// 400 where the content type does not fit, 422 with the faults of its attributes.
pub fn read_binary(headers: &HeaderMap, body: &Body) -> Result<Draft, Problem> {
    let content_type = content::content_type(headers)?;
    let mut faults = Faults::default();
    let mut attributes = Attributes::new(Place::Headers, &mut faults);
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        if attribute == "datacontenttype" {
            attributes.fault(attribute, "is not used in binary mode; the header content-type says it");
            continue;
        }
        for value in headers.get_all(name) {
            match decode(value) {
                Some(text) => attributes.take(Cow::Borrowed(attribute), &json_string(&text), Some(text.into())),
                None => {
                    attributes.fault(attribute, "is not percent-encoded UTF-8 (section 3.1.3.2 of the HTTP binding)")
                }
            }
        }
    }
    if let Some(content_type) = &content_type {
        let text = content_type.clone().into_string();
        attributes.take(Cow::Borrowed("datacontenttype"), &json_string(&text), Some(text.into()));
    }
    let content = content::content(content_type.unwrap_or_else(|| content::UNKNOWN.into()), body);
    let draft = attributes.draft(Some(content), content::traceparent(headers));
    faults.or(draft)
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A header's value as it is meant (section 3.1.3.2 of the binding): a quoted string is unquoted, then percent-encoding
/// is undone.
fn decode(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim_matches([' ', '\t']);
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let plain = match quoted {
        None => Cow::Borrowed(text),
        Some(inner) => {
            let mut out = String::with_capacity(inner.len());
            let mut escaped = false;
            for c in inner.chars() {
                if c == '\\' && !escaped {
                    escaped = true;
                } else {
                    out.push(c);
                    escaped = false;
                }
            }
            Cow::Owned(out)
        }
    };
    percent_decode(&plain, false).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_decoded() {
        let table: [(&[u8], Option<&str>); 7] = [
            (b"plain text", Some("plain text")),
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            (b"\"a \\\"quoted\\\" %25\"", Some("a \"quoted\" %")),
            ("Euro €".as_bytes(), Some("Euro €")),
            (b"%E2%82", None),
            (b"100%", None),
            (b"\xFF", None),
        ];
        for (value, expected) in table {
            let value = HeaderValue::from_bytes(value).unwrap();
            assert_eq!(decode(&value).as_deref(), expected, "{value:?}");
        }
    }
}
