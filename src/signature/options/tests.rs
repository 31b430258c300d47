use super::super::{Received, Refusal, Signed, sign, verify};
use super::*;
use crate::model::text::EventId;

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn hmac(options: Options<'_>) -> Result<Scheme, SchemeError> {
    Scheme::new(SchemeKind::Hmac, &secret("key"), &options)
}

/// Options that the scheme cannot do without.
fn least(kind: SchemeKind) -> Options<'static> {
    match kind {
        SchemeKind::Hmac => Options { header: Some("x-signature"), ..Options::default() },
        SchemeKind::Basic => Options { username: Some("user"), ..Options::default() },
        _ => Options::default(),
    }
}

#[test]
fn every_scheme_is_made_from_its_word_and_a_secret() {
    for kind in SchemeKind::ALL {
        let made = Scheme::for_signing(kind, &secret(STANDARD_SECRET), &least(kind)).unwrap();
        assert_eq!(made.kind(), kind);
        let shown = format!("{made:?}");
        assert!(shown.contains(&format!("{kind:?}")), "{shown}");
        assert!(!shown.contains("MfKQ9r8G") && !shown.contains("user"), "{shown}");
    }
}

#[test]
fn every_scheme_refuses_empty_overlong_and_line_broken_secrets_without_showing_them() {
    let long = "s3cr3t".repeat(limits::SECRET_BYTES_MAX);
    for kind in SchemeKind::ALL {
        for (text, expected) in [
            ("", SecretError::Empty),
            (long.as_str(), SecretError::TooLong { found: long.len() }),
            ("s3cr3t\n", SecretError::LineBreak),
            ("s3cr3t\r\n", SecretError::LineBreak),
            ("\ns3cr3t", SecretError::LineBreak),
        ] {
            let refused = Scheme::new(kind, &secret(text), &least(kind)).unwrap_err();
            assert_eq!(refused, SchemeError::Secret(expected), "{kind}");
            assert_eq!(refused.option(), None);
            assert!(!format!("{refused} {refused:?}").contains("s3cr3t"));
        }
    }
}

#[test]
fn a_public_key_verifies_and_cannot_sign() {
    let public = secret("whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
    let scheme = Scheme::new(SchemeKind::Standard, &public, &Options::default()).unwrap();
    assert!(!scheme.can_sign());
    let id = EventId::parse("e1").unwrap();
    let signed = Signed { id: &id, timestamp_secs: 1, body: b"", url: "" };
    assert!(sign(&[scheme], &signed).is_empty());
    let refused = Scheme::for_signing(SchemeKind::Standard, &public, &Options::default());
    assert_eq!(refused.unwrap_err(), SchemeError::PublicKey);
}

#[test]
fn options_that_would_have_no_effect_are_refused() {
    let all = [
        Options { header: Some("x-a"), ..Options::default() },
        Options { algorithm: Some("sha1"), ..Options::default() },
        Options { encoding: Some("hex"), ..Options::default() },
        Options { prefix: Some("p"), ..Options::default() },
        Options { username: Some("u"), ..Options::default() },
        Options { content: Some("{body}"), ..Options::default() },
        Options { timestamp_header: Some("x-t"), ..Options::default() },
        Options { id_header: Some("x-i"), ..Options::default() },
        Options { tolerance_secs: Some(1), ..Options::default() },
    ];
    let taken = |kind| {
        let takes = |options: &&Options<'_>| {
            !matches!(Scheme::new(kind, &secret(STANDARD_SECRET), options), Err(SchemeError::NotTaken { .. }))
        };
        all.iter().filter(takes).count()
    };
    for kind in SchemeKind::ALL {
        let expected = match kind {
            SchemeKind::Hmac => 8,
            SchemeKind::Token | SchemeKind::Basic => 2,
            _ => 0,
        };
        assert_eq!(taken(kind), expected, "{kind}");
    }
    let refused = Scheme::new(SchemeKind::Github, &secret("s"), &all[3]).unwrap_err();
    assert_eq!(refused.to_string(), "the scheme github has no use for `prefix`: remove it");
    assert_eq!(refused.option(), Some("prefix"));
}

#[test]
fn wrong_options_are_refused_by_name() {
    let named = Options { header: Some("x-sig"), ..Options::default() };
    for (options, option) in [
        (Options::default(), "header"),
        (Options { header: Some("x sig"), ..named }, "header"),
        (Options { header: Some(""), ..named }, "header"),
        (Options { header: Some("Content-Type"), ..named }, "header"),
        (Options { header: Some("webhook-id"), ..named }, "header"),
        (Options { algorithm: Some("md5"), ..named }, "algorithm"),
        (Options { algorithm: Some("SHA256"), ..named }, "algorithm"),
        (Options { encoding: Some("base32"), ..named }, "encoding"),
        (Options { prefix: Some("a\nb"), ..named }, "prefix"),
        (Options { prefix: Some(" a"), ..named }, "prefix"),
        (Options { prefix: Some("ü"), ..named }, "prefix"),
        (Options { content: Some("{timestamp}"), ..named }, "content"),
        (Options { timestamp_header: Some("x-time"), ..named }, "timestamp_header"),
        (Options { tolerance_secs: Some(60), ..named }, "tolerance"),
        (Options { id_header: Some("x-id"), content: Some("{timestamp}{body}"), ..named }, "id_header"),
        (Options { content: Some("{timestamp}{body}"), timestamp_header: Some("X-Sig"), ..named }, "timestamp_header"),
        (Options { content: Some("{id}{body}"), id_header: Some("host"), ..named }, "id_header"),
    ] {
        let refused = hmac(options).unwrap_err();
        assert_eq!(refused.option(), Some(option), "{refused}");
        assert!(refused.to_string().contains(option), "{refused}");
    }
    let basic = |user, text| {
        let options = Options { username: user, ..Options::default() };
        Scheme::new(SchemeKind::Basic, &secret(text), &options).unwrap_err()
    };
    assert_eq!(basic(Some("a:b"), "c"), SchemeError::Colon);
    assert_eq!(basic(None, "password").option(), Some("username"));
    assert!(!basic(None, "passw0rd").to_string().contains("passw0rd"));
}

#[test]
fn a_configured_hmac_signs_and_verifies_what_its_content_names() {
    let id = EventId::parse("evt_1").unwrap();
    let signed = Signed { id: &id, timestamp_secs: 1000, body: b"body", url: "" };
    let scheme = hmac(Options {
        header: Some("X-Sig"),
        algorithm: Some("sha512"),
        encoding: Some("base64"),
        prefix: Some("s="),
        content: Some("{id}:{timestamp}:{body}"),
        timestamp_header: Some("x-time"),
        id_header: Some("x-id"),
        tolerance_secs: Some(10),
        ..Options::default()
    })
    .unwrap();
    let schemes = [scheme];
    let headers: hyper::header::HeaderMap = sign(&schemes, &signed).into_iter().collect();
    assert_eq!(headers.len(), 3);
    assert_eq!(headers["x-time"], "1000");
    assert_eq!(headers["x-id"], "evt_1");
    assert!(headers["x-sig"].to_str().unwrap().starts_with("s="));
    let at = |now_secs| verify(&schemes, &Received { headers: &headers, body: b"body", now_secs, url: None });
    assert_eq!((at(990), at(1010)), (Ok(()), Ok(())));
    assert_eq!((at(989), at(1011)), (Err(Refusal::Future), Err(Refusal::Stale)));
    let mut other = headers.clone();
    other.insert("x-id", HeaderValue::from_static("evt_2"));
    let received = Received { headers: &other, body: b"body", now_secs: 1000, url: None };
    assert_eq!(verify(&schemes, &received), Err(Refusal::Mismatch));
}

#[test]
fn the_headers_that_every_delivery_carries_are_not_written_twice() {
    let id = EventId::parse("evt_1").unwrap();
    let signed = Signed { id: &id, timestamp_secs: 1000, body: b"body", url: "" };
    let content = Some("{id}.{timestamp}.{body}");
    let by_default = hmac(Options { header: Some("x-sig"), content, ..Options::default() }).unwrap();
    let by_name = hmac(Options {
        header: Some("x-sig"),
        content,
        timestamp_header: Some("Webhook-Timestamp"),
        id_header: Some("Webhook-Id"),
        ..Options::default()
    })
    .unwrap();
    let headers = sign(&[by_default], &signed);
    assert_eq!(headers.len(), 1);
    assert_eq!(headers, sign(&[by_name], &signed));
}
