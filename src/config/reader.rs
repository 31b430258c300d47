//! Reading a parsed TOML document with its positions: small typed readers that note each fault and go on, so that one
//! run tells of every fault.
//!
//! A reader that finds a fault notes it and hands back the default, or nothing. What is built from that is thrown away
//! at the end, since a config with any fault is refused.

use std::ffi::OsString;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use url::Url;

use super::error::ConfigError;
use super::keys::{Keys, SECRET};
use super::units;
use crate::clock::UnixMs;
use crate::limits;

/// How environment variables are looked up.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Longest piece of a value that an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// One reading of one config: what it may look at, and what it has found so far.
pub(super) struct Reading<'a> {
    text: &'a str,
    /// The byte at which each line starts.
    lines: Vec<usize>,
    /// The place told last, as a byte and a column: thousands of faults of one line are counted on from there.
    last: (usize, usize),
    file_name: &'a str,
    base_dir: &'a Path,
    /// Looks up an environment variable.
    pub(super) env: EnvLookup<'a>,
    /// The present time, which certificates are judged by.
    pub(super) now: UnixMs,
    /// The faults so far.
    pub(super) errors: Vec<ConfigError>,
    /// Those so far that only time has made, or will mend.
    pub(super) lapsed: Vec<ConfigError>,
    /// The warnings so far.
    pub(super) warnings: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, file_name: &'a str, base_dir: &'a Path, env: EnvLookup<'a>, now: UnixMs) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            text,
            lines,
            last: (0, 1),
            file_name,
            base_dir,
            env,
            now,
            errors: Vec::new(),
            lapsed: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a fault at a byte position.
    pub(super) fn error_at(&mut self, byte: usize, key: &str, message: impl Into<String>) {
        let error = self.fault(byte, key, &message.into());
        self.errors.push(error);
    }

    /// Notes a fault of a value that only time has made, or will mend.
    pub(super) fn lapse(&mut self, item: &Item<'_>, message: impl Into<String>) {
        let error = self.fault(item.at, &item.path, &message.into());
        self.lapsed.push(error);
    }

    fn fault(&mut self, byte: usize, key: &str, message: &str) -> ConfigError {
        let (line, column) = self.position(byte);
        ConfigError { line, column, key: key.to_owned(), message: on_one_line(message) }
    }

    /// Notes a fault of a value.
    pub(super) fn error(&mut self, item: &Item<'_>, message: impl Into<String>) {
        self.error_at(item.at, &item.path, message);
    }

    /// Notes that a value is not what was expected, and shows it.
    pub(super) fn expected(&mut self, item: &Item<'_>, what: &str) {
        self.error(item, format!("expected {what}, found {}", describe(item.value)));
    }

    /// Notes that a value is not what was expected, without showing it.
    pub(super) fn expected_unseen(&mut self, item: &Item<'_>, what: &str) {
        self.error(item, format!("expected {what}, found {}", kind(item.value)));
    }

    /// Notes what is legal but worth a word.
    pub(super) fn warn(&mut self, item: &Item<'_>, sentence: &str) {
        let (line, _) = self.position(item.at);
        self.warnings.push(on_one_line(&format!("{}:{line}: {}: {sentence}", self.file_name, item.path)));
    }

    /// A path as the config means it: relative ones start at the config's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base_dir.join(path)
    }

    /// Line and column, both from 1, the column in characters.
    fn position(&mut self, byte: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let (known, column) = if (start..=byte).contains(&self.last.0) { self.last } else { (start, 1) };
        let between = self.text.get(known..byte.min(self.text.len())).unwrap_or_default();
        let column = column + between.chars().count();
        self.last = (byte, column);
        (line, column)
    }
}

/// One value with its full key and its place.
#[derive(Clone)]
pub(super) struct Item<'a> {
    /// The full key.
    pub(super) path: String,
    /// The byte position that an error points at.
    pub(super) at: usize,
    /// The value.
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    /// The string, if it is one; otherwise a fault.
    pub(super) fn text(&self, reading: &mut Reading<'_>, what: &str) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            reading.expected(self, what);
        }
        text
    }

    /// The URL, and how it is written; otherwise a fault, which does not show it: it may hold credentials.
    pub(super) fn url_unseen(&self, reading: &mut Reading<'_>, what: &str) -> Option<(&'a str, Url)> {
        let Some(text) = self.value.as_str() else {
            reading.expected_unseen(self, what);
            return None;
        };
        if text.len() > limits::URL_BYTES_MAX {
            let (len, max) = (text.len(), limits::URL_BYTES_MAX);
            reading.error(self, format!("the URL has {len} bytes, at most {max} are allowed"));
            return None;
        }
        match Url::parse(text) {
            Ok(url) => Some((text, url)),
            Err(reason) => {
                reading.error(self, format!("expected {what}, found something else: {reason}"));
                None
            }
        }
    }

    /// The elements of a list of at most `max`; otherwise a fault.
    pub(super) fn list(&self, reading: &mut Reading<'_>, what: &str, max: usize) -> Option<Vec<Item<'a>>> {
        let Some(list) = self.value.as_array() else {
            reading.expected(self, what);
            return None;
        };
        if list.len() > max {
            reading.error(self, format!("has {} entries, at most {max} are allowed", list.len()));
            return None;
        }
        let item = |(n, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            path: format!("{}[{n}]", self.path),
            at: value.span().start,
            value: value.get_ref(),
        };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// A duration within bounds, in milliseconds; otherwise a fault.
    pub(super) fn duration_ms(&self, reading: &mut Reading<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
        let ms = self.quantity(reading, "a duration", "15s", "s", units::parse_duration_ms)?;
        self.bounded(reading, ms, range, units::show_duration_ms)
    }

    /// A size within bounds, in bytes; otherwise a fault.
    pub(super) fn size_bytes(&self, reading: &mut Reading<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
        let bytes = self.quantity(reading, "a size", "64KiB", "B", units::parse_size_bytes)?;
        self.bounded(reading, bytes, range, units::show_size_bytes)
    }

    /// A whole number within bounds; otherwise a fault.
    pub(super) fn integer(&self, reading: &mut Reading<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        let number = number.filter(|n| range.contains(n));
        if number.is_none() {
            reading.expected(self, &what);
        }
        number
    }

    /// A number within bounds; otherwise a fault.
    pub(super) fn number(&self, reading: &mut Reading<'_>, range: &RangeInclusive<f64>) -> Option<f64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let number = match self.value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok().filter(|_| integer.radix() == 10),
            _ => None,
        };
        let number = number.filter(|n| range.contains(n));
        if number.is_none() {
            reading.expected(self, &what);
        }
        number
    }

    /// One of a few words; otherwise a fault.
    pub(super) fn word<T: Copy>(&self, reading: &mut Reading<'_>, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| self.value.as_str() == Some(word));
        if found.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            reading.expected(self, &either(&words));
        }
        found.map(|(_, meaning)| *meaning)
    }

    fn quantity(
        &self,
        reading: &mut Reading<'_>,
        noun: &str,
        example: &str,
        unit: &str,
        parse: fn(&str) -> Result<u64, units::UnitError>,
    ) -> Option<u64> {
        let found = describe(self.value);
        let message = match self.value {
            DeValue::String(text) => match parse(text) {
                Ok(quantity) => return Some(quantity),
                Err(reason) => format!("expected {noun}, found {found}; {reason}"),
            },
            DeValue::Integer(number) => {
                let number = shortened(&number.to_string());
                format!("expected {noun}, found {found} without a unit; add one, for example \"{number}{unit}\"")
            }
            _ => format!("expected {noun} such as {example:?}, found {found}"),
        };
        reading.error(self, message);
        None
    }

    fn bounded(
        &self,
        reading: &mut Reading<'_>,
        value: u64,
        range: &RangeInclusive<u64>,
        show: fn(u64) -> String,
    ) -> Option<u64> {
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        let bounds =
            if *range.end() == u64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
        reading.error(self, format!("expected {bounds}, found {}", describe(self.value)));
        None
    }
}

/// One table with the keys it may have.
pub(super) struct Table<'a> {
    /// The full key.
    pub(super) path: String,
    at: usize,
    entries: &'a DeTable<'a>,
    keys: &'static Keys,
}

impl<'a> Table<'a> {
    /// The top of the file.
    pub(super) fn root(reading: &mut Reading<'_>, entries: &'a DeTable<'a>, keys: &'static Keys) -> Self {
        let table = Self { path: String::new(), at: 0, entries, keys };
        table.refuse_unknown_keys(reading);
        table
    }

    /// Opens a value as a table of these keys. Each unknown key is a fault.
    pub(super) fn open(reading: &mut Reading<'_>, item: &Item<'a>, keys: &'static Keys) -> Option<Self> {
        let Some(entries) = item.value.as_table() else {
            let what = format!("a table with keys such as {}", either(&keys.names[..keys.names.len().min(3)]));
            // A table's place may be taken by a secret, a scheme or a token: none of these is shown.
            reading.expected_unseen(item, &what);
            return None;
        };
        let table = Self { path: item.path.clone(), at: item.at, entries, keys };
        table.refuse_unknown_keys(reading);
        Some(table)
    }

    /// Notes a fault of a key that is not there, at the table's place.
    pub(super) fn error(&self, reading: &mut Reading<'_>, key: &str, message: impl Into<String>) {
        reading.error_at(self.at, &join(&self.path, key), message);
    }

    /// The value of a key that stands in the table's list.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        assert!(self.keys.names.contains(&key), "{} is listed in keys.rs", self.keys.place(key));
        self.find(key)
    }

    /// Whether it has no key at all, known or not.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of any key.
    pub(super) fn find(&self, key: &str) -> Option<Item<'a>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(item_of(&self.path, key, value))
    }

    /// The duration of a key, or its default.
    pub(super) fn duration_ms(
        &self,
        reading: &mut Reading<'_>,
        key: &'static str,
        range: &RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.get(key).and_then(|item| item.duration_ms(reading, range)).unwrap_or(default)
    }

    /// The size of a key, or its default.
    pub(super) fn size_bytes(
        &self,
        reading: &mut Reading<'_>,
        key: &'static str,
        range: &RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.get(key).and_then(|item| item.size_bytes(reading, range)).unwrap_or(default)
    }

    /// The word of a key, or its default.
    pub(super) fn word<T: Copy>(
        &self,
        reading: &mut Reading<'_>,
        key: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        self.get(key).and_then(|item| item.word(reading, words)).unwrap_or(default)
    }

    fn refuse_unknown_keys(&self, reading: &mut Reading<'_>) {
        for (key, value) in self.entries.iter().filter(|(key, _)| !self.keys.names.contains(&&**key.get_ref())) {
            let item = item_of(&self.path, key, value);
            if std::ptr::eq(self.keys, &raw const SECRET) {
                // The secret itself may have been put where a key belongs.
                reading.error_at(
                    key.span().start,
                    &self.path,
                    format!("unknown key; expected {}", either(SECRET.names)),
                );
            } else {
                reading.error_at(key.span().start, &item.path, self.keys.advice(key.get_ref()));
            }
        }
    }
}

/// The entries of a table whose keys are names of the user's choice; otherwise a fault.
pub(super) fn named<'a>(reading: &mut Reading<'_>, item: &Item<'a>, what: &str) -> Vec<(&'a str, Item<'a>)> {
    let Some(entries) = item.value.as_table() else {
        reading.expected_unseen(item, what);
        return Vec::new();
    };
    entries.iter().map(|(key, value)| (&**key.get_ref(), item_of(&item.path, key, value))).collect()
}

fn item_of<'a>(path: &str, key: &Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
    // The place of a table is its key: its value may be scattered over the file.
    let at = if value.get_ref().is_table() { key.span() } else { value.span() };
    let Range { start, .. } = at;
    Item { path: join(path, key.get_ref()), at: start, value: value.get_ref() }
}

/// A full key; a part that is not a bare key of TOML is quoted.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    // A name may be long and hold digits; only what is certainly a secret is held back.
    let key = if bare && !marked_secret(key) { key.to_owned() } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// `a, b or c`.
pub(super) fn either(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A text as an error shows it: quoted, shortened, and not at all if it could be a secret that strayed.
pub(super) fn shown(text: &str) -> String {
    if looks_like_secret(text) {
        return "\"…\" (not shown: it looks like a secret)".to_owned();
    }
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a text could be a secret that was put in the wrong place. Errs on the side of silence.
pub(super) fn looks_like_secret(text: &str) -> bool {
    let coded = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    let key_like = text.len() >= 16 && text.chars().all(coded) && text.contains(|c: char| c.is_ascii_digit());
    marked_secret(text) || key_like
}

/// Whether a text says itself that it is a secret.
pub(super) fn marked_secret(text: &str) -> bool {
    ["whsec_", "whsk_", "Bearer ", "Basic "].iter().any(|mark| text.contains(mark))
}

/// A text without control characters: a path in the config may hold some, and must not forge a line of the log.
fn on_one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shown(text),
        DeValue::Integer(number) => format!("the number {}", shortened(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shortened(number.as_str())),
        DeValue::Boolean(truth) => truth.to_string(),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
