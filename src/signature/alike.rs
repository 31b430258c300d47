//! Whether schemes do the same, so that a config that was read anew shows what is another one. Keys are compared in a time that
//! does not tell where they differ, and none is kept for it.

use subtle::{Choice, ConstantTimeEq as _};

use super::{Form, Scheme, Signed, sign};
use crate::model::text::EventId;

/// Whether both sign every delivery alike: with the same secrets, in the same order, under the same scheme.
///
/// Both sign a sample, and the signatures are compared. A secret that never signs, as all but the first of most schemes, makes
/// no difference.
#[must_use]
pub fn sign_alike(one: &[Scheme], other: &[Scheme]) -> bool {
    let Ok(id) = EventId::parse("evt_sample") else { return false };
    let sample =
        Signed { id: &id, timestamp_secs: 1_614_265_330, body: b"{\"sample\":1}", url: "https://example.com/x?y=z" };
    let kinds = |schemes: &[Scheme]| schemes.first().map(Scheme::kind);
    let (signed, again) = (sign(one, &sample), sign(other, &sample));
    let pairs = || signed.iter().zip(&again);
    kinds(one) == kinds(other)
        && signed.len() == again.len()
        && pairs().all(|((name, _), (other, _))| name == other)
        && pairs()
            .fold(Choice::from(1), |alike, ((_, value), (_, other))| alike & value.as_bytes().ct_eq(other.as_bytes()))
            .into()
}

/// Whether both verify alike: with the same secrets, in the same order, under the same scheme and the same tolerance. Every
/// secret counts, since any of them verifies.
#[must_use]
pub fn verify_alike(one: &[Scheme], other: &[Scheme]) -> bool {
    // All pairs are compared, whichever of them differs.
    one.len() == other.len() && one.iter().zip(other).fold(true, |alike, (one, other)| alike & one.verifies_like(other))
}

impl Scheme {
    fn verifies_like(&self, other: &Self) -> bool {
        let tolerance = |scheme: &Self| match &scheme.form {
            Form::HeaderMac(mac) => mac.timestamp.as_ref().map(|timestamp| timestamp.tolerance_secs),
            _ => None,
        };
        let same_key = match (self.public(), other.public()) {
            // It is no secret.
            (Some(one), Some(other)) => one == other,
            (None, None) => sign_alike(std::slice::from_ref(self), std::slice::from_ref(other)),
            _ => false,
        };
        self.kind == other.kind && tolerance(self) == tolerance(other) && same_key
    }

    /// The public key that verifies, where the scheme has such a one.
    fn public(&self) -> Option<String> {
        match &self.form {
            Form::Standard(key) => key.public(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::secret::Secret;
    use crate::signature::standard::KeyPair;
    use crate::signature::{Options, SchemeKind};

    fn scheme(kind: SchemeKind, secret: &str, options: &Options<'_>) -> Scheme {
        Scheme::new(kind, &Secret::new(secret.as_bytes().to_vec()), options).unwrap()
    }

    #[test]
    fn every_secret_makes_a_difference_to_who_verifies() {
        let of = |secrets: &[&str]| -> Vec<_> {
            secrets.iter().map(|secret| scheme(SchemeKind::Github, secret, &Options::default())).collect()
        };
        assert!(verify_alike(&of(&["a", "b"]), &of(&["a", "b"])));
        assert!(sign_alike(&of(&["a", "b"]), &of(&["a", "c"])), "the first one signs");
        for other in [&["a", "c"][..], &["c", "b"], &["a"], &["a", "b", "c"], &[]] {
            assert!(!verify_alike(&of(&["a", "b"]), &of(other)), "{other:?}");
        }
        assert!(verify_alike(&[], &[]));
    }

    #[test]
    fn every_option_makes_a_difference_to_who_verifies() {
        let usual = Options { header: Some("x-s"), content: Some("{timestamp}.{id}.{body}"), ..Options::default() };
        let others = [
            Options { header: Some("x-t"), ..usual },
            Options { algorithm: Some("sha512"), ..usual },
            Options { encoding: Some("base64"), ..usual },
            Options { prefix: Some("v1="), ..usual },
            Options { content: Some("{timestamp}:{id}.{body}"), ..usual },
            Options { timestamp_header: Some("x-time"), ..usual },
            Options { id_header: Some("x-id"), ..usual },
            Options { tolerance_secs: Some(10), ..usual },
        ];
        let of = |options: &Options<'_>| [scheme(SchemeKind::Hmac, "secret", options)];
        assert!(verify_alike(&of(&usual), &of(&usual)));
        for other in others {
            assert!(!verify_alike(&of(&usual), &of(&other)), "{other:?}");
        }
        let one = [scheme(SchemeKind::Shopify, "secret", &Options::default())];
        assert!(!verify_alike(&one, &[scheme(SchemeKind::Github, "secret", &Options::default())]));
    }

    #[test]
    fn public_keys_are_compared_though_they_do_not_sign() {
        let [one, other] = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
        let public = |pair: &KeyPair| [scheme(SchemeKind::Standard, &pair.public, &Options::default())];
        assert!(verify_alike(&public(&one), &public(&one)));
        assert!(!verify_alike(&public(&one), &public(&other)));
        let private = str::from_utf8(one.private.expose()).unwrap();
        assert!(verify_alike(&public(&one), &[scheme(SchemeKind::Standard, private, &Options::default())]));
    }
}
