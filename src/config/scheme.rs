//! A scheme and its options, as `sign` of an endpoint and `verify` of a source name them.

use hyper::header::HeaderName;

use super::keys::{Keys, SIGN, VERIFY};
use super::reader::{Item, Reading, Table, either, looks_like_secret};
use crate::limits;
use crate::model::text::EventId;
use crate::signature::secret::Secret;
use crate::signature::{self, Options, Scheme, SchemeError, SchemeKind, Signed};

/// The word for no scheme at all.
const NONE: &str = "none";

/// What a scheme is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// `sign` of an endpoint.
    Sign,
    /// `verify` of a source.
    Verify,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// `none`
    Nothing,
    /// A scheme.
    Scheme(SchemeKind),
    /// Already noted as a fault.
    Unknown,
}

/// `sign` or `verify`, read.
pub(super) struct Asked<'a> {
    /// What is wanted.
    pub(super) wish: Wish,
    side: Side,
    table: Option<Table<'a>>,
    options: Options<'a>,
}

impl Side {
    fn keys(self) -> &'static Keys {
        match self {
            Self::Sign => &SIGN,
            Self::Verify => &VERIFY,
        }
    }

    /// The table as it would be written for a scheme.
    fn example(self, scheme: &str) -> String {
        match self {
            Self::Sign => format!("sign = {{ scheme = \"{scheme}\" }}"),
            Self::Verify => format!("verify = {{ scheme = \"{scheme}\", secret = {{ file = \"…\" }} }}"),
        }
    }

    fn make(self, kind: SchemeKind, secret: &Secret, options: &Options<'_>) -> Result<Scheme, SchemeError> {
        match self {
            Self::Sign => Scheme::for_signing(kind, secret, options),
            // A public key verifies.
            Self::Verify => Scheme::new(kind, secret, options),
        }
    }
}

impl<'a> Asked<'a> {
    /// A scheme without options.
    pub(super) fn plain(side: Side, kind: SchemeKind) -> Self {
        Self { wish: Wish::Scheme(kind), side, table: None, options: Options::default() }
    }

    /// Reads a table, or the word for no scheme. Every option is looked at, whatever the scheme is.
    pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'a>, side: Side) -> Self {
        let without = |wish| Self { wish, side, table: None, options: Options::default() };
        if let Some(text) = item.value.as_str() {
            if text == NONE {
                return without(Wish::Nothing);
            }
            let hint = match text.parse::<SchemeKind>() {
                Ok(kind) => format!("expected a table; write {}", side.example(kind.as_str())),
                Err(_) => "expected { scheme = \"…\" } or \"none\", found another string".to_owned(),
            };
            reading.error(item, hint);
            return without(Wish::Unknown);
        }
        let Some(table) = Table::open(reading, item, side.keys()) else { return without(Wish::Unknown) };
        let wish = read_scheme(reading, &table);
        let options = read_options(reading, &table, side);
        if wish == Wish::Nothing {
            refuse_options(reading, &table, side);
        }
        Self { wish, side, table: Some(table), options }
    }

    /// The value of another key of the table.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        self.table.as_ref()?.get(key)
    }

    /// One scheme for each secret. A fault of an option is told once, at the option; one of a secret at the secret.
    pub(super) fn schemes(
        &self,
        reading: &mut Reading<'_>,
        kind: SchemeKind,
        secrets: &[(Item<'_>, Secret)],
    ) -> Vec<Scheme> {
        let mut schemes = Vec::with_capacity(secrets.len());
        for (item, secret) in secrets {
            let fault = match self.side.make(kind, secret, &self.options) {
                Ok(scheme) => {
                    schemes.push(scheme);
                    continue;
                }
                Err(fault) => fault,
            };
            let Some((table, option)) = self.table.as_ref().zip(fault.option()) else {
                reading.error(item, fault.to_string());
                continue;
            };
            match table.find(option) {
                Some(given) if given.value.as_str().is_some_and(looks_like_secret) => {
                    reading
                        .error(&given, format!("does not fit the scheme {kind} (not shown: it looks like a secret)"));
                }
                Some(given) => reading.error(&given, fault.to_string()),
                None => table.error(reading, option, fault.to_string()),
            }
            // The options are the same for every secret.
            break;
        }
        schemes
    }
}

/// The headers that a signature by these schemes is written into.
pub(super) fn headers_of(schemes: &[Scheme]) -> Vec<HeaderName> {
    // Only the names count, so any request will do.
    let Ok(id) = EventId::parse("x") else { return Vec::new() };
    let sample = Signed { id: &id, timestamp_secs: 0, body: b"", url: "https://example.com/" };
    signature::sign(schemes, &sample).into_iter().map(|(name, _)| name).collect()
}

fn read_scheme(reading: &mut Reading<'_>, table: &Table<'_>) -> Wish {
    let kinds = SchemeKind::ALL.iter().map(|kind| (kind.as_str(), Wish::Scheme(*kind)));
    let names: Vec<_> = kinds.chain([(NONE, Wish::Nothing)]).collect();
    let Some(scheme) = table.get("scheme") else {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        table.error(reading, "scheme", format!("missing; write scheme = {}", either(&names)));
        return Wish::Unknown;
    };
    scheme.word(reading, &names).unwrap_or(Wish::Unknown)
}

fn read_options<'a>(reading: &mut Reading<'_>, table: &Table<'a>, side: Side) -> Options<'a> {
    let mut text = |key: &'static str| -> Option<&'a str> { table.get(key)?.text(reading, "a string") };
    Options {
        header: text("header"),
        algorithm: text("algorithm"),
        encoding: text("encoding"),
        prefix: text("prefix"),
        username: text("username"),
        content: text("content"),
        timestamp_header: text("timestamp_header"),
        id_header: text("id_header"),
        tolerance_secs: match side {
            // It bounds what is verified, and nothing is verified there.
            Side::Sign => None,
            Side::Verify => table.get("tolerance").and_then(|item| read_tolerance(reading, &item)),
        },
    }
}

fn read_tolerance(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<u64> {
    let range = 1000..=limits::TOLERANCE_SECS_MAX * 1000;
    let ms = item.duration_ms(reading, &range)?;
    if ms % 1000 != 0 {
        reading.error(item, "expected whole seconds, such as \"300s\": timestamps have no smaller parts");
        return None;
    }
    Some(ms / 1000)
}

fn refuse_options(reading: &mut Reading<'_>, table: &Table<'_>, side: Side) {
    for key in side.keys().names.iter().filter(|key| !matches!(**key, "scheme" | "secret")) {
        if let Some(item) = table.get(key) {
            reading.error(&item, format!("the scheme {NONE} has no use for `{key}`: remove it"));
        }
    }
}
