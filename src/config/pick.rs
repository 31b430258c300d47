//! Where in a request a value stands that is read from it: a header, a field of a JSON body, a field of a form.

use std::fmt;

use hyper::header::HeaderName;
use thiserror::Error;

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
