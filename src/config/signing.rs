//! `sign` and `secret` of an endpoint: from the config's words to the schemes that sign its deliveries.

use hyper::header::{HeaderName, HeaderValue};

use super::keys::SIGN;
use super::reader::{Item, Reading, Table, either, looks_like_secret};
use super::secrets::read_secrets;
use crate::model::text::EventId;
use crate::signature::secret::Secret;
use crate::signature::{self, Options, Scheme, SchemeKind, Signed};

/// What `sign` asks for.
enum Wish<'a> {
    Unsigned,
    Scheme(SchemeKind, Option<Table<'a>>),
    /// Already noted as a fault.
    Unknown,
}

/// Reads `sign` and `secret`. `headers` are the endpoint's own, among which none may be one that the scheme writes.
pub(super) fn read(
    reading: &mut Reading<'_>,
    table: &Table<'_>,
    headers: Option<&(Vec<(HeaderName, HeaderValue)>, Item<'_>)>,
) -> Vec<Scheme> {
    let wish = read_wish(reading, table.get("sign").as_ref());
    let secret_item = table.get("secret");
    // Read whatever the wish is: a secret that cannot be loaded is a fault of its own.
    let secrets = secret_item.as_ref().map(|item| read_secrets(reading, item));
    let (kind, sign_table) = match wish {
        Wish::Scheme(kind, sign_table) => (kind, sign_table),
        Wish::Unsigned => {
            if let Some(item) = &secret_item {
                reading.warn(item, "sign = \"none\" leaves the deliveries unsigned, so this secret is not used");
            }
            return Vec::new();
        }
        Wish::Unknown => return Vec::new(),
    };
    let options = sign_table.as_ref().map(|table| read_options(reading, table)).unwrap_or_default();
    let Some(secrets) = secrets else {
        table.error(
            reading,
            "secret",
            format!(
                "missing, and the scheme {kind} needs it; write secret = {{ file = \"…\" }} (`webhookd secret new` makes \
                 one), or sign = \"none\" to send unsigned"
            ),
        );
        return Vec::new();
    };
    let Some(secrets) = secrets else { return Vec::new() };
    let schemes = make(reading, sign_table.as_ref(), kind, &secrets, &options);
    if let (Some(item), true) = (&secret_item, schemes.len() > 1 && !signs_with_all(kind)) {
        let sentence =
            format!("the scheme {kind} has room for one signature: the first secret signs, the others are not used");
        reading.warn(item, &sentence);
    }
    if let Some((headers, item)) = headers {
        refuse_double_headers(reading, item, headers, &schemes);
    }
    schemes
}

fn read_wish<'a>(reading: &mut Reading<'_>, item: Option<&Item<'a>>) -> Wish<'a> {
    let Some(item) = item else { return Wish::Scheme(SchemeKind::Standard, None) };
    if let Some(text) = item.value.as_str() {
        if text == "none" {
            return Wish::Unsigned;
        }
        let hint = match text.parse::<SchemeKind>() {
            Ok(kind) => format!("expected a table; write sign = {{ scheme = \"{kind}\" }}"),
            Err(_) => "expected { scheme = \"…\" } or \"none\", found another string".to_owned(),
        };
        reading.error(item, hint);
        return Wish::Unknown;
    }
    let Some(table) = Table::open(reading, item, &SIGN) else { return Wish::Unknown };
    let kinds = SchemeKind::ALL.iter().map(|kind| (kind.as_str(), Some(*kind)));
    let names: Vec<_> = kinds.chain([("none", None)]).collect();
    let Some(scheme) = table.get("scheme") else {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        table.error(reading, "scheme", format!("missing; write scheme = {}", either(&names)));
        return Wish::Unknown;
    };
    match scheme.word(reading, &names) {
        Some(Some(kind)) => Wish::Scheme(kind, Some(table)),
        Some(None) => Wish::Unsigned,
        None => Wish::Unknown,
    }
}

fn read_options<'a>(reading: &mut Reading<'_>, table: &Table<'a>) -> Options<'a> {
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
        // It bounds what is verified, and nothing is verified here.
        tolerance_secs: None,
    }
}

/// One scheme for each secret. A fault of an option is told once, at the option; one of a secret at the secret.
fn make(
    reading: &mut Reading<'_>,
    table: Option<&Table<'_>>,
    kind: SchemeKind,
    secrets: &[(Item<'_>, Secret)],
    options: &Options<'_>,
) -> Vec<Scheme> {
    let mut schemes = Vec::with_capacity(secrets.len());
    for (item, secret) in secrets {
        let fault = match Scheme::for_signing(kind, secret, options) {
            Ok(scheme) => {
                schemes.push(scheme);
                continue;
            }
            Err(fault) => fault,
        };
        let Some((table, option)) = table.zip(fault.option()) else {
            reading.error(item, fault.to_string());
            continue;
        };
        match table.find(option) {
            Some(given) if given.value.as_str().is_some_and(looks_like_secret) => {
                reading.error(&given, format!("does not fit the scheme {kind} (not shown: it looks like a secret)"));
            }
            Some(given) => reading.error(&given, fault.to_string()),
            None => table.error(reading, option, fault.to_string()),
        }
        // The options are the same for every secret.
        break;
    }
    schemes
}

/// Whether a delivery carries a signature of each secret, and not of the first alone.
fn signs_with_all(kind: SchemeKind) -> bool {
    matches!(kind, SchemeKind::Standard | SchemeKind::Stripe)
}

fn refuse_double_headers(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    headers: &[(HeaderName, HeaderValue)],
    schemes: &[Scheme],
) {
    // Only the names count, so any delivery will do.
    let Ok(id) = EventId::parse("x") else { return };
    let sample = Signed { id: &id, timestamp_secs: 0, body: b"", url: "https://example.com/" };
    for (name, _) in signature::sign(schemes, &sample) {
        if headers.iter().any(|(own, _)| *own == name) {
            reading.error(item, format!("`sign` writes the header {name} itself; remove it here"));
        }
    }
}
