//! JSON read once, as text.
//!
//! [`Reader`] walks a body from its first byte to its last and hands out the places of its values, without building any
//! of them: what a producer wrote is passed on as it stands, so no number is rounded and no field is reordered. It takes
//! exactly the grammar of RFC 8259, and refuses besides what some receivers could not read: invalid UTF-8, `\u` escapes
//! of half a surrogate pair, and values nested deeper than [`limits::JSON_DEPTH_MAX`]. Its stack is one integer, so no
//! body can overflow it, and its time is linear in the body.

mod lexer;

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use crate::limits;

/// Why a text is no JSON that webhookd takes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} at byte {at}")]
pub struct JsonFault {
    /// The byte where it shows, from 0.
    pub at: usize,
    /// What is wrong.
    pub what: JsonFaultKind,
}

/// What is wrong with a text that should be JSON.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JsonFaultKind {
    /// There is nothing but white space.
    #[error("the text is empty, JSON was expected,")]
    Empty,
    /// It begins with a byte order mark.
    #[error("there is a byte order mark (RFC 8259 forbids it in JSON)")]
    ByteOrderMark,
    /// The bytes are no UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// It ends before the value does.
    #[error("the text ends too early")]
    End,
    /// Something else was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A control character in a string.
    #[error("there is a control character in a string; it must be escaped")]
    Control,
    /// An escape that JSON does not know.
    #[error("there is an unknown escape in a string")]
    Escape,
    /// Half a surrogate pair.
    #[error("there is a \\u escape of half a surrogate pair, which stands for no character,")]
    Surrogate,
    /// A number that breaks the grammar.
    #[error("there is a malformed number")]
    Number,
    /// Nested too deeply.
    #[error("arrays and objects are nested deeper than {}", limits::JSON_DEPTH_MAX)]
    Depth,
    /// Something follows the value.
    #[error("nothing may follow the JSON value, but something does")]
    Trailing,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The kind in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A value where it stands in the text.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its own text, without white space around it.
    pub text: &'a str,
    /// Its first byte in the whole text.
    pub start: usize,
}

impl<'a> Value<'a> {
    /// Its bytes in the whole text.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// What the string says; `None` where it is none.
    pub fn string(&self) -> Option<Cow<'a, str>> {
        if self.kind != Kind::String {
            return None;
        }
        let inner = self.text.get(1..self.text.len() - 1)?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.text).ok().map(Cow::Owned)
    }
}

/// Whether these bytes are one JSON value and nothing else.
pub fn is_json(bytes: &[u8]) -> bool {
    Reader::new(bytes)
        .and_then(|mut reader| {
            reader.value()?;
            reader.finish()
        })
        .is_ok()
}

/// Walks a JSON text.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader before the first value of `bytes`.
    ///
    /// # Errors
    /// Where there is nothing to read, a byte order mark, or bytes that are no UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(JsonFault { at: 0, what: JsonFaultKind::ByteOrderMark });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonFault { at: error.valid_up_to(), what: JsonFaultKind::Utf8 })?;
        let mut reader = Self { text, bytes, at: 0 };
        reader.blank();
        match reader.peek() {
            Some(_) => Ok(reader),
            None => Err(JsonFault { at: 0, what: JsonFaultKind::Empty }),
        }
    }

    /// What the next value is, by its first byte. Whether it is whole shows when it is read.
    ///
    /// # Errors
    /// Where no value begins here.
    pub fn kind(&mut self) -> Result<Kind, JsonFault> {
        self.blank();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.fault(JsonFaultKind::Expected("a value"))),
            None => Err(self.fault(JsonFaultKind::End)),
        }
    }

    /// Reads one value, whole.
    ///
    /// # Errors
    /// Where it breaks a rule.
    pub fn value(&mut self) -> Result<Value<'a>, JsonFault> {
        let kind = self.kind()?;
        let start = self.at;
        self.skip()?;
        Ok(Value { kind, text: &self.text[start..self.at], start })
    }

    /// Steps into the array or object that comes next.
    ///
    /// # Errors
    /// Where something else comes.
    pub fn enter(&mut self, kind: Kind) -> Result<(), JsonFault> {
        let (open, words) = if kind == Kind::Array { (b'[', "an array") } else { (b'{', "an object") };
        self.blank();
        if self.peek() != Some(open) {
            return Err(self.fault(JsonFaultKind::Expected(words)));
        }
        self.at += 1;
        Ok(())
    }

    /// Goes to the next item of the array that was entered, or steps out at its end: `false`. `first` says whether it is
    /// the first, and is cleared.
    ///
    /// # Errors
    /// Where neither comes.
    pub fn next_item(&mut self, first: &mut bool) -> Result<bool, JsonFault> {
        self.next(first, b']', "a comma or the end of the array")
    }

    /// The name of the next member of the object that was entered, as it is meant, its value being next; or steps out at
    /// the object's end: `None`.
    ///
    /// # Errors
    /// Where neither comes.
    pub fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, JsonFault> {
        if !self.next(first, b'}', "a comma or the end of the object")? {
            return Ok(None);
        }
        self.blank();
        let start = self.at;
        self.key()?;
        let end = self.text[start..self.at].rfind('"').map_or(start, |quote| start + quote + 1);
        let key = Value { kind: Kind::String, text: &self.text[start..end], start };
        key.string().map(Some).ok_or(JsonFault { at: start, what: JsonFaultKind::Escape })
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// Where something does.
    pub fn finish(&mut self) -> Result<(), JsonFault> {
        self.blank();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault(JsonFaultKind::Trailing)),
        }
    }

    fn next(&mut self, first: &mut bool, end: u8, expected: &'static str) -> Result<bool, JsonFault> {
        let was_first = std::mem::replace(first, false);
        self.blank();
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if was_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.fault(JsonFaultKind::Expected(expected))),
            None => Err(self.fault(JsonFaultKind::End)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: JsonFaultKind) -> JsonFault {
        JsonFault { at: self.at, what }
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes one value of any depth.
    fn skip(&mut self) -> Result<(), JsonFault> {
        let mut open = Open::default();
        loop {
            match self.kind()? {
                Kind::Object => {
                    open.push(true).map_err(|what| self.fault(what))?;
                    self.at += 1;
                    self.blank();
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
                Kind::Array => {
                    open.push(false).map_err(|what| self.fault(what))?;
                    self.at += 1;
                    self.blank();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.at += 1;
                    open.pop();
                }
                Kind::String => self.string()?,
                Kind::Number => self.number()?,
                Kind::Bool | Kind::Null => self.word()?,
            }
            if !self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends here. `true` where another value is to come.
    fn close(&mut self, open: &mut Open) -> Result<bool, JsonFault> {
        while let Some(object) = open.top() {
            self.blank();
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if object {
                        self.key()?;
                    }
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    open.pop();
                }
                (Some(_), true) => return Err(self.fault(JsonFaultKind::Expected("a comma or the end of the object"))),
                (Some(_), false) => return Err(self.fault(JsonFaultKind::Expected("a comma or the end of the array"))),
                (None, _) => return Err(self.fault(JsonFaultKind::End)),
            }
        }
        Ok(false)
    }

    /// Passes a member's name and the colon.
    fn key(&mut self) -> Result<(), JsonFault> {
        self.blank();
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(_) => return Err(self.fault(JsonFaultKind::Expected("the name of a field in quotes"))),
            None => return Err(self.fault(JsonFaultKind::End)),
        }
        self.blank();
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.fault(JsonFaultKind::Expected("a colon"))),
            None => Err(self.fault(JsonFaultKind::End)),
        }
    }
}

/// The arrays and objects that are open, the innermost last: a bit each.
#[derive(Default)]
struct Open {
    bits: u128,
    depth: usize,
}

const _: () = assert!(limits::JSON_DEPTH_MAX <= 128, "Open holds a bit for each level");

impl Open {
    fn push(&mut self, object: bool) -> Result<(), JsonFaultKind> {
        if self.depth == limits::JSON_DEPTH_MAX {
            return Err(JsonFaultKind::Depth);
        }
        self.bits = self.bits << 1 | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    /// Whether the innermost is an object; `None` where nothing is open.
    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
