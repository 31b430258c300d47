//! What holds for every content, and for all that a stranger can send.

use proptest::prelude::*;

use super::*;

fn kinds() -> impl Strategy<Value = SchemeKind> {
    proptest::sample::select(SchemeKind::ALL.to_vec())
}

proptest! {
    /// Whatever is signed verifies, whatever the content; one changed byte of the body does not.
    #[test]
    fn what_is_signed_verifies(
        kind in kinds(),
        ed25519 in any::<bool>(),
        svix in any::<bool>(),
        id in "[!-\\-/-~]{1,128}",
        at in 0u64..253_402_300_000,
        body in proptest::collection::vec(any::<u8>(), 0..600),
        change in any::<prop::sample::Index>(),
    ) {
        let secret = if ed25519 { PRIVATE } else { HMAC };
        let signer = [scheme(kind, secret)];
        let verifier = [scheme(kind, if ed25519 && kind == SchemeKind::Standard { PUBLIC } else { secret })];
        // A body that is no form goes with its hash in the URL.
        let url = twilio::url_with_body_hash(URL, &body);
        let mut headers = delivered(&signer, &id, at, &body, &url);
        if svix && kind == SchemeKind::Standard {
            headers = as_svix(&headers);
        }
        let answer = |body: &[u8]| {
            verify(&verifier, &Received { headers: &headers, body, now_secs: at, url: Some(&url) })
        };
        prop_assert_eq!(answer(&body), Ok(()));
        if signs_the_body(kind) {
            let mut longer = body.clone();
            longer.push(b'x');
            prop_assert_eq!(answer(&longer), Err(Refusal::Mismatch));
            if !body.is_empty() {
                let mut forged = body.clone();
                forged[change.index(body.len())] ^= 1;
                prop_assert_eq!(answer(&forged), Err(Refusal::Mismatch));
            }
        }
    }

    /// Twilio's form mode: fields in any order and any legal spelling.
    #[test]
    fn twilio_forms_verify_in_any_order(fields in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..12)) {
        let schemes = [scheme(SchemeKind::Twilio, HMAC)];
        let form = |fields: &mut dyn Iterator<Item = &(String, String)>| {
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
        };
        let headers = delivered(&schemes, "m", NOW, form(&mut fields.iter()).as_bytes(), URL);
        prop_assert_eq!(check(&schemes, &headers, form(&mut fields.iter().rev()).as_bytes(), NOW), Ok(()));
    }

    /// No header, body or URL that a stranger can send makes verifying panic or succeed.
    #[test]
    fn junk_is_refused_without_a_panic(
        kind in kinds(),
        values in proptest::collection::vec("[ -~]{0,80}|v1,[A-Za-z0-9+/=]{0,90}|t=[0-9]{0,20},v1=[0-9a-f]{0,70}", 4),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        url in proptest::option::of("(https?://)?[ -~]{0,40}|.{0,20}"),
        now_secs in any::<u64>(),
        svix in any::<bool>(),
    ) {
        let mut headers = HeaderMap::new();
        let names = other_headers(kind).iter().copied().chain([signature_header(kind)]);
        for (name, value) in names.zip(&values) {
            headers.insert(name, value.parse().unwrap());
        }
        if svix && kind == SchemeKind::Standard {
            headers = as_svix(&headers);
        }
        let received = Received { headers: &headers, body: &body, now_secs, url: url.as_deref() };
        prop_assert!(verify(&[scheme(kind, HMAC)], &received).is_err());
        if kind == SchemeKind::Standard {
            prop_assert!(verify(&[scheme(kind, PUBLIC)], &received).is_err());
        }
    }
}
