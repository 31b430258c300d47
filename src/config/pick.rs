//! Where in a request a value stands that is read from it: a header, a field of a JSON body, a field of a form.

use std::fmt;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use thiserror::Error;
use toml::de::DeValue;

use super::keys::PICK;
use super::reader::{Item, Reading, Table, marked_secret, shown};
use crate::limits;

/// Headers that carry credentials; what is read from a request is shown.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// A header.
    Header(HeaderName),
    /// A field of a JSON body.
    Json(JsonPointer),
    /// A field of a form (`application/x-www-form-urlencoded`).
    Form(Box<str>),
}

/// A JSON pointer (RFC 6901).
#[derive(Clone, PartialEq, Eq)]
pub struct JsonPointer {
    text: Box<str>,
    steps: Vec<Box<str>>,
}

/// A text that is no JSON pointer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("must begin with a slash, as /data/id does")]
    Slash,
    /// A tilde that is no escape.
    #[error("has a ~ that is neither ~0 (for ~) nor ~1 (for /)")]
    Tilde,
}

impl JsonPointer {
    /// Reads a pointer; the empty one stands for the whole body.
    ///
    /// # Errors
    /// Says which part of the rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self { text: "".into(), steps: Vec::new() });
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::Slash)?;
        let steps = rest.split('/').map(unescape).collect::<Option<_>>().ok_or(PointerError::Tilde)?;
        Ok(Self { text: text.into(), steps })
    }

    /// The names on the way, unescaped.
    #[must_use]
    pub fn steps(&self) -> &[Box<str>] {
        &self.steps
    }
}

/// Reads one place or a list of places; `carrier` is the header that carries the source's secret itself.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>, carrier: Option<&HeaderName>) -> Vec<Pick> {
    let items = match item.value {
        DeValue::Table(_) => vec![item.clone()],
        DeValue::Array(_) => item.list(reading, "a list of places", limits::PICKS_MAX).unwrap_or_default(),
        _ => {
            let what = "a place such as { header = \"x-event\" } or { json = \"/type\" }, or a list of places";
            reading.expected_unseen(item, what);
            return Vec::new();
        }
    };
    items.iter().filter_map(|item| read_one(reading, item, carrier)).collect()
}

fn read_one(reading: &mut Reading<'_>, item: &Item<'_>, carrier: Option<&HeaderName>) -> Option<Pick> {
    let table = Table::open(reading, item, &PICK)?;
    let places = [table.get("header"), table.get("json"), table.get("form")];
    let given = places.iter().flatten().count();
    let [header, json, form] = places;
    let header = header.map(|item| read_header(reading, &item, carrier));
    let json = json.map(|item| read_pointer(reading, &item));
    let form = form.map(|item| read_field(reading, &item));
    if given == 0 && !table.is_empty() {
        // Which key is unknown has been told.
        return None;
    }
    if given != 1 {
        let found = if given == 0 { "none of these keys" } else { "several" };
        reading.error(
            item,
            format!(
                "expected one place, {{ header = \"…\" }}, {{ json = \"/…\" }} or {{ form = \"…\" }}, found {found}"
            ),
        );
        return None;
    }
    header.or(json).or(form)?
}

fn read_header(reading: &mut Reading<'_>, item: &Item<'_>, carrier: Option<&HeaderName>) -> Option<Pick> {
    let text = item.text(reading, "the name of a header")?;
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        reading.error(item, format!("{} is no header name; write one such as \"x-event\"", shown(text)));
        return None;
    };
    if CREDENTIALS.contains(&name) || carrier == Some(&name) {
        let name = name.as_str();
        reading.error(
            item,
            format!("the header {name} carries a secret, and what is read here is shown; choose another place"),
        );
        return None;
    }
    Some(Pick::Header(name))
}

fn read_pointer(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Pick> {
    let text = item.text(reading, "a JSON pointer such as \"/type\"")?;
    let fault = match JsonPointer::parse(text) {
        _ if marked_secret(text) => "expected a JSON pointer, found a secret, which belongs in verify".to_owned(),
        _ if text.is_empty() => {
            "the empty pointer stands for the whole body; name a field, as \"/type\" does".to_owned()
        }
        _ if text.len() > limits::PICK_BYTES_MAX => {
            format!("the pointer has {} bytes, at most {} are allowed", text.len(), limits::PICK_BYTES_MAX)
        }
        Ok(pointer) => return Some(Pick::Json(pointer)),
        Err(reason) => format!("the JSON pointer {} {reason}", shown(text)),
    };
    reading.error(item, fault);
    None
}

fn read_field(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Pick> {
    let text = item.text(reading, "the name of a form's field")?;
    if marked_secret(text) {
        reading.error(item, "expected the name of a form's field, found a secret, which belongs in verify");
        return None;
    }
    if text.is_empty() || text.len() > limits::PICK_BYTES_MAX {
        let max = limits::PICK_BYTES_MAX;
        reading.error(item, format!("expected the name of a form's field, of 1 to {max} bytes, found {}", text.len()));
        return None;
    }
    Some(Pick::Form(text.into()))
}

fn unescape(step: &str) -> Option<Box<str>> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text.into())
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_rfc_6901_shows() {
        let steps = |text: &str| JsonPointer::parse(text).map(|pointer| pointer.steps().join("|"));
        assert_eq!(steps(""), Ok(String::new()));
        assert_eq!(steps("/foo/0"), Ok("foo|0".to_owned()));
        assert_eq!(steps("/a~1b/m~0n/~01"), Ok("a/b|m~n|~1".to_owned()));
        assert_eq!(JsonPointer::parse("/").unwrap().steps().len(), 1);
        assert_eq!(steps("foo"), Err(PointerError::Slash));
        for bad in ["/~", "/a~2", "/~é"] {
            assert_eq!(steps(bad), Err(PointerError::Tilde), "{bad}");
        }
    }
}
