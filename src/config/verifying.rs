//! `verify` of a source: from the config's words to the schemes that verify its requests.

use hyper::header::HeaderName;

use super::reader::{Item, Reading, Table};
use super::scheme::{Asked, Side, Wish, headers_of};
use super::secrets::read_secrets;
use super::{Inbound, Verification};
use crate::signature::SchemeKind;

impl Verification {
    /// The scheme; `None`: nothing is verified.
    #[must_use]
    pub fn kind(&self) -> Option<SchemeKind> {
        match self {
            Self::Unverified => None,
            Self::Schemes(schemes) => schemes.first().map(crate::signature::Scheme::kind),
        }
    }

    /// The header that carries the secret itself, where the scheme has such a one.
    pub(super) fn carrier(&self) -> Option<HeaderName> {
        match self {
            Self::Schemes(schemes) if self.kind().is_some_and(sends_the_secret) => {
                headers_of(schemes).into_iter().next()
            }
            _ => None,
        }
    }
}

/// Reads `verify` of a source that is reached at `inbound`; `open`: whether any address may post.
pub(super) fn read(
    reading: &mut Reading<'_>,
    source: &Table<'_>,
    inbound: &Inbound,
    open: bool,
) -> Option<Verification> {
    let Some(item) = source.get("verify") else {
        source.error(
            reading,
            "verify",
            "missing; write verify = { scheme = \"…\", secret = { file = \"…\" } }, or verify = \"none\" to take whatever comes",
        );
        return None;
    };
    let asked = Asked::read(reading, &item, Side::Verify);
    let secret_item = asked.get("secret");
    // Read whatever the scheme is: a secret that cannot be loaded is a fault of its own.
    let secrets = secret_item.as_ref().map(|item| read_secrets(reading, item));
    let kind = match asked.wish {
        Wish::Scheme(kind) => kind,
        Wish::Nothing => {
            if let Some(item) = &secret_item {
                reading.error(
                    item,
                    "the scheme none checks nothing, so this secret would guard nothing; name the scheme that it belongs \
                     to, or remove it",
                );
            }
            warn_unverified(reading, &item, open);
            return Some(Verification::Unverified);
        }
        Wish::Unknown => return None,
    };
    let Some(secrets) = secrets else {
        reading.error_at(
            item.at,
            &format!("{}.secret", item.path),
            format!(
                "missing, and the scheme {kind} needs it; write secret = {{ file = \"…\" }} with the secret that the other \
                 side has, or verify = \"none\" to take whatever comes"
            ),
        );
        return None;
    };
    let secrets = secrets?;
    if sends_the_secret(kind) && !inbound.listen.is_local() && inbound.tls.is_none() {
        let sentence = format!(
            "other machines reach [inbound] without TLS, and with the scheme {kind} the secret itself travels: everyone on \
             the way can read and use it; add tls = {{ cert = \"cert.pem\", key = \"key.pem\" }} to [inbound], or listen on a \
             loopback address behind a proxy that speaks TLS"
        );
        reading.warn(&item, &sentence);
    }
    let schemes = asked.schemes(reading, kind, &secrets);
    (schemes.len() == secrets.len()).then_some(Verification::Schemes(schemes))
}

fn warn_unverified(reading: &mut Reading<'_>, item: &Item<'_>, open: bool) {
    let sentence = if open {
        "nothing is verified: whoever reaches [inbound] may post events here; name a scheme, or list who may in \
         allow_networks"
    } else {
        "nothing is verified: whoever posts from one of the allow_networks may post any event"
    };
    reading.warn(item, sentence);
}

/// Whether a request carries the secret itself, and not a signature made with it.
fn sends_the_secret(kind: SchemeKind) -> bool {
    matches!(kind, SchemeKind::Token | SchemeKind::Basic | SchemeKind::Gitlab)
}
