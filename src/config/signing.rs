//! `sign` and `secret` of an endpoint: from the config's words to the schemes that sign its deliveries.

use hyper::header::{HeaderName, HeaderValue};

use super::reader::{Item, Reading, Table};
use super::scheme::{Asked, Side, Wish, headers_of};
use super::secrets::read_secrets;
use crate::signature::{Scheme, SchemeKind};

/// Reads `sign` and `secret`. `headers` are the endpoint's own, among which none may be one that the scheme writes.
pub(super) fn read(
    reading: &mut Reading<'_>,
    table: &Table<'_>,
    headers: Option<&(Vec<(HeaderName, HeaderValue)>, Item<'_>)>,
) -> Vec<Scheme> {
    let asked = match table.get("sign") {
        Some(item) => Asked::read(reading, &item, Side::Sign),
        None => Asked::plain(Side::Sign, SchemeKind::Standard),
    };
    let secret_item = table.get("secret");
    // Read whatever the wish is: a secret that cannot be loaded is a fault of its own.
    let secrets = secret_item.as_ref().map(|item| read_secrets(reading, item));
    let kind = match asked.wish {
        Wish::Scheme(kind) => kind,
        Wish::Nothing => {
            if let Some(item) = &secret_item {
                reading.warn(item, "sign = \"none\" leaves the deliveries unsigned, so this secret is not used");
            }
            return Vec::new();
        }
        Wish::Unknown => return Vec::new(),
    };
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
    let schemes = asked.schemes(reading, kind, &secrets);
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
    for name in headers_of(schemes) {
        if headers.iter().any(|(own, _)| *own == name) {
            reading.error(item, format!("`sign` writes the header {name} itself; remove it here"));
        }
    }
}
