//! The schemes against published vectors, against themselves, and against forgers.

mod properties;

use hyper::header::HeaderMap;

use super::secret::Secret;
use super::*;

const NOW: u64 = 1_614_265_330;
const HMAC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_HMAC: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PRIVATE: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
const PUBLIC: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const URL: &str = "https://hooks.example.com/in/x?a=b";

fn scheme(kind: SchemeKind, secret: &str) -> Scheme {
    let options = match kind {
        SchemeKind::Hmac => Options { header: Some("x-signature"), prefix: Some("sha256="), ..Options::default() },
        SchemeKind::Basic => Options { username: Some("user"), ..Options::default() },
        _ => Options::default(),
    };
    Scheme::new(kind, &Secret::new(secret.as_bytes().to_vec()), &options).unwrap()
}

/// What a receiver gets: the headers of the signature and those that every delivery carries.
fn delivered(schemes: &[Scheme], id: &str, timestamp_secs: u64, body: &[u8], url: &str) -> HeaderMap {
    let id = EventId::parse(id).unwrap();
    let mut headers: HeaderMap = sign(schemes, &Signed { id: &id, timestamp_secs, body, url }).into_iter().collect();
    headers.insert("webhook-id", id.as_str().parse().unwrap());
    headers.insert("webhook-timestamp", timestamp_secs.to_string().parse().unwrap());
    headers
}

fn check(schemes: &[Scheme], headers: &HeaderMap, body: &[u8], now_secs: u64) -> Result<(), Refusal> {
    verify(schemes, &Received { headers, body, now_secs, url: Some(URL) })
}

fn with(headers: &HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(name, value.parse().unwrap());
    headers
}

/// The header that carries the signature.
fn signature_header(kind: SchemeKind) -> &'static str {
    match kind {
        SchemeKind::Standard => "webhook-signature",
        SchemeKind::Github => "x-hub-signature-256",
        SchemeKind::Stripe => "stripe-signature",
        SchemeKind::Shopify => "x-shopify-hmac-sha256",
        SchemeKind::Slack => "x-slack-signature",
        SchemeKind::Twilio => "x-twilio-signature",
        SchemeKind::Gitlab => "x-gitlab-token",
        SchemeKind::Zendesk => "x-zendesk-webhook-signature",
        SchemeKind::Hmac => "x-signature",
        SchemeKind::Token | SchemeKind::Basic => "authorization",
    }
}

/// The headers that must all be there, besides the signature's own.
fn other_headers(kind: SchemeKind) -> &'static [&'static str] {
    match kind {
        SchemeKind::Standard => &["webhook-id", "webhook-timestamp"],
        SchemeKind::Slack => &["x-slack-request-timestamp"],
        SchemeKind::Zendesk => &["x-zendesk-webhook-signature-timestamp"],
        _ => &[],
    }
}

fn signs_the_body(kind: SchemeKind) -> bool {
    !matches!(kind, SchemeKind::Gitlab | SchemeKind::Token | SchemeKind::Basic)
}

fn signs_a_timestamp(kind: SchemeKind) -> bool {
    matches!(kind, SchemeKind::Standard | SchemeKind::Stripe | SchemeKind::Slack | SchemeKind::Zendesk)
}

#[test]
fn published_vectors_come_out_to_the_letter() {
    let slack_body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                      channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                      response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F\
                      96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let zendesk_secret = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==";
    for (kind, secret, at, body, expected) in [
        // The Standard Webhooks specification.
        (SchemeKind::Standard, HMAC, NOW, r#"{"test": 2432232314}"#, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        // The same content signed by another implementation (OpenSSL).
        (
            SchemeKind::Standard,
            PRIVATE,
            NOW,
            r#"{"test": 2432232314}"#,
            "v1a,yoUrgEkc12aGqm0n4Sydmdz55xJfTz4AsAgieHFjmkR7LJtqVCZOQYzvvHjI5kAey+r4iaBGxTFRrl2iBQxtDQ==",
        ),
        // GitHub's documentation, "Validating webhook deliveries".
        (
            SchemeKind::Github,
            "It's a Secret to Everybody",
            NOW,
            "Hello, World!",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ),
        // Stripe's Python library.
        (
            SchemeKind::Stripe,
            "whsec_test_secret",
            NOW,
            r#"{"id":"evt_1"}"#,
            "t=1614265330,v1=e135cdbed3dda004bf8a2fb350f2541d299393c770e0b9e6e319dc595e9072aa",
        ),
        // Slack's documentation, "Verifying requests from Slack".
        (
            SchemeKind::Slack,
            "8f742231b10e8888abcd99yyyzzz85a5",
            1_531_420_618,
            slack_body,
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
        // Computed by Python's hmac, as Shopify's and Zendesk's documentation tell.
        (SchemeKind::Shopify, "hush", NOW, r#"{"id":1}"#, "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="),
        (
            SchemeKind::Zendesk,
            zendesk_secret,
            1_627_207_200,
            r#"{"say": "hello"}"#,
            "gf3v0LzLRHPUnIdhbvwRDVEvzSb07/QN0GYjSNlkBT0=",
        ),
    ] {
        let schemes = [scheme(kind, secret)];
        let headers = delivered(&schemes, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body.as_bytes(), URL);
        assert_eq!(headers[signature_header(kind)], expected, "{kind}");
        assert_eq!(check(&schemes, &headers, body.as_bytes(), at), Ok(()), "{kind}");
        match kind {
            SchemeKind::Slack => assert_eq!(headers["x-slack-request-timestamp"], "1531420618"),
            SchemeKind::Zendesk => {
                assert_eq!(headers["x-zendesk-webhook-signature-timestamp"], "2021-07-25T10:00:00Z");
            }
            _ => {}
        }
    }
}

#[test]
fn the_hub_header_is_given_once() {
    let github = [scheme(SchemeKind::Github, "new"), scheme(SchemeKind::Github, "old")];
    let id = EventId::parse("e").unwrap();
    let headers = sign(&github, &Signed { id: &id, timestamp_secs: NOW, body: b"x", url: URL });
    assert_eq!(headers, sign(&github[..1], &Signed { id: &id, timestamp_secs: NOW, body: b"x", url: URL }));
    assert_eq!(headers.len(), 1);
}

#[test]
fn nothing_signs_nothing_and_verifies_nothing() {
    let id = EventId::parse("e").unwrap();
    assert!(sign(&[], &Signed { id: &id, timestamp_secs: NOW, body: b"x", url: URL }).is_empty());
    assert_eq!(check(&[], &HeaderMap::new(), b"x", NOW), Err(Refusal::Mismatch));
}

#[test]
fn all_secrets_of_a_rotation_sign_in_order_with_one_space_between() {
    let secrets = [HMAC, PRIVATE, PUBLIC, OTHER_HMAC];
    let schemes = secrets.map(|secret| scheme(SchemeKind::Standard, secret));
    let headers = delivered(&schemes, "m", NOW, b"body", URL);
    let each = [0, 1, 3].map(|at| {
        let alone = delivered(&schemes[at..=at], "m", NOW, b"body", URL);
        alone["webhook-signature"].to_str().unwrap().to_owned()
    });
    assert_eq!(headers["webhook-signature"], each.join(" ").as_str());
    // Whoever knows only one of them, or the public key, can verify.
    for known in &schemes {
        assert_eq!(check(std::slice::from_ref(known), &headers, b"body", NOW), Ok(()), "{known:?}");
    }

    let stripe = ["a", "b"].map(|secret| scheme(SchemeKind::Stripe, secret));
    let headers = delivered(&stripe, "m", NOW, b"body", URL);
    let text = headers["stripe-signature"].to_str().unwrap();
    assert!(text.starts_with("t=1614265330,v1="), "{text}");
    assert_eq!(text.matches(",v1=").count(), 2);
    for known in &stripe {
        assert_eq!(check(std::slice::from_ref(known), &headers, b"body", NOW), Ok(()));
    }
}

#[test]
fn the_second_secret_of_a_receiver_fits_too() {
    for kind in SchemeKind::ALL {
        let (old, new) = (scheme(kind, OTHER_HMAC), scheme(kind, HMAC));
        let headers = delivered(std::slice::from_ref(&old), "m", NOW, b"a=b", URL);
        assert_eq!(check(&[new.clone(), old], &headers, b"a=b", NOW), Ok(()), "{kind}");
        assert_eq!(check(&[new], &headers, b"a=b", NOW), Err(Refusal::Mismatch), "{kind}");
    }
}

#[test]
fn forgeries_are_refused_by_every_scheme() {
    for kind in SchemeKind::ALL {
        let schemes = [scheme(kind, HMAC)];
        let body = b"a=b&c=d";
        let good = delivered(&schemes, "m", NOW, body, URL);
        let name = signature_header(kind);
        assert_eq!(check(&schemes, &good, body, NOW), Ok(()), "{kind}");

        if signs_the_body(kind) {
            for forged in [b"a=b&c=e".as_slice(), b"a=b&c=d&e=f", b"a=b", b""] {
                assert_eq!(check(&schemes, &good, forged, NOW), Err(Refusal::Mismatch), "{kind}");
            }
        }
        for header in other_headers(kind).iter().chain([&name]) {
            let mut missing = good.clone();
            missing.remove(*header);
            assert_eq!(check(&schemes, &missing, body, NOW), Err(Refusal::MissingHeader), "{kind} {header}");
            let mut twice = good.clone();
            twice.append(*header, good[*header].clone());
            assert_eq!(check(&schemes, &twice, body, NOW), Err(Refusal::DuplicateHeader), "{kind} {header}");
            let empty = with(&good, header, "");
            assert_eq!(check(&schemes, &empty, body, NOW), Err(unreadable(kind, header)), "{kind} {header}");
        }
        let text = good[name].to_str().unwrap();
        for cut in 1..text.len() {
            let refused = check(&schemes, &with(&good, name, &text[..cut]), body, NOW);
            assert!(refused.is_err(), "{kind} cut at {cut}");
        }
        for byte in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[byte] = if bytes[byte] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(bytes).unwrap();
            assert!(check(&schemes, &with(&good, name, &forged), body, NOW).is_err(), "{kind} changed at {byte}");
        }
        for junk in ["x", "=", ",", "v1,", "v1=", "sha256=", "\u{fc}", "t=,v1=", "Bearer ", "Basic "] {
            assert!(check(&schemes, &with(&good, name, junk), body, NOW).is_err(), "{kind} {junk}");
        }
    }
}

/// What an empty header is refused as: a list without any token of ours is readable, it only fits nothing.
fn unreadable(kind: SchemeKind, header: &str) -> Refusal {
    match (kind, header) {
        (SchemeKind::Standard, "webhook-signature") => Refusal::Mismatch,
        _ => Refusal::MalformedHeader,
    }
}

#[test]
fn timestamps_are_good_for_five_minutes_both_ways_and_are_signed() {
    for kind in SchemeKind::ALL.into_iter().filter(|kind| signs_a_timestamp(*kind)) {
        let schemes = [scheme(kind, HMAC)];
        let good = delivered(&schemes, "m", NOW, b"body", URL);
        for (now, expected) in [
            (NOW + 299, Ok(())),
            (NOW + 300, Ok(())),
            (NOW + 301, Err(Refusal::Stale)),
            (NOW - 299, Ok(())),
            (NOW - 300, Ok(())),
            (NOW - 301, Err(Refusal::Future)),
            (u64::MAX, Err(Refusal::Stale)),
            (0, Err(Refusal::Future)),
        ] {
            assert_eq!(check(&schemes, &good, b"body", now), expected, "{kind} at {now}");
        }
        let (header, moved) = match kind {
            SchemeKind::Standard => ("webhook-timestamp", "1614265331".to_owned()),
            SchemeKind::Slack => ("x-slack-request-timestamp", "1614265331".to_owned()),
            SchemeKind::Zendesk => ("x-zendesk-webhook-signature-timestamp", "2021-02-25T15:02:11Z".to_owned()),
            _ => {
                let text = good["stripe-signature"].to_str().unwrap();
                ("stripe-signature", text.replace("t=1614265330", "t=1614265331"))
            }
        };
        assert_eq!(check(&schemes, &with(&good, header, &moved), b"body", NOW), Err(Refusal::Mismatch), "{kind}");
        let malformed = if kind == SchemeKind::Stripe { moved.replace("t=1", "t=+1") } else { "soon".to_owned() };
        let refused = check(&schemes, &with(&good, header, &malformed), b"body", NOW);
        assert_eq!(refused, Err(Refusal::MalformedHeader), "{kind}");
    }
}

#[test]
fn tokens_of_other_versions_are_skipped_and_lists_are_bounded() {
    let schemes = [scheme(SchemeKind::Standard, HMAC)];
    let good = delivered(&schemes, "m", NOW, b"body", URL);
    let text = good["webhook-signature"].to_str().unwrap().to_owned();
    let answer = |value: &str| check(&schemes, &with(&good, "webhook-signature", value), b"body", NOW);
    // Written strictly, read leniently: an authentic message is not lost over a space.
    for fine in [
        format!("v2,abc {text}"),
        format!("{text} v1a,AAAA"),
        format!("v1,AAAA {text}"),
        format!("nonsense {text}"),
        format!("v1,{}  {text}", "A".repeat(43) + "="),
        format!("{}{text}", "v9, ".repeat(15)),
    ] {
        assert_eq!(answer(&fine), Ok(()), "{fine}");
    }
    for (bad, refusal) in [
        (text.replace("v1,", "v2,"), Refusal::Mismatch),
        (text.replace("v1,", "v1a,"), Refusal::Mismatch),
        (text.replace("v1,", "V1,"), Refusal::Mismatch),
        (text.replace("v1,", "v1, "), Refusal::MalformedHeader),
        (text.replace("v1,", "v1="), Refusal::Mismatch),
        (text.replace('=', ""), Refusal::MalformedHeader),
        (format!("v1,AAAA v1,{}=", "A".repeat(43)), Refusal::Mismatch),
        (format!("{}{text}", "v9, ".repeat(16)), Refusal::MalformedHeader),
    ] {
        assert_eq!(answer(&bad), Err(refusal), "{bad}");
    }

    let schemes = [scheme(SchemeKind::Stripe, "s")];
    let good = delivered(&schemes, "m", NOW, b"body", URL);
    let text = good["stripe-signature"].to_str().unwrap().to_owned();
    let v1 = text.split_once(',').unwrap().1;
    let answer = |value: &str| check(&schemes, &with(&good, "stripe-signature", value), b"body", NOW);
    for fine in [
        format!("v0=abc,{text},v2=x"),
        format!("{v1},t={NOW}"),
        format!("t={NOW},v1=00,{v1}"),
        format!("t={NOW},v1={},{v1}", "0".repeat(64)),
        text.replace(v1, &v1.to_uppercase().replace("V1=", "v1=")),
    ] {
        assert_eq!(answer(&fine), Ok(()), "{fine}");
    }
    for (bad, refusal) in [
        (v1.to_owned(), Refusal::MalformedHeader),
        (format!("t={NOW}"), Refusal::MalformedHeader),
        (format!("t={NOW},{text}"), Refusal::MalformedHeader),
        (text.replace("v1=", "v0="), Refusal::MalformedHeader),
        (format!("{text}{}", ",v0=".repeat(16)), Refusal::MalformedHeader),
        (format!("t={NOW},v1={}", "0".repeat(64)), Refusal::Mismatch),
    ] {
        assert_eq!(answer(&bad), Err(refusal), "{bad}");
    }
}

/// The same message under Svix's names.
fn as_svix(headers: &HeaderMap) -> HeaderMap {
    let renamed = |name: &str| name.replace("webhook-", "svix-").parse::<HeaderName>().unwrap();
    headers.iter().map(|(name, value)| (renamed(name.as_str()), value.clone())).collect()
}

#[test]
fn svix_names_are_read_where_no_other_is_there_and_never_mixed() {
    for (signer, verifier) in [(HMAC, HMAC), (PRIVATE, PRIVATE), (PRIVATE, PUBLIC)] {
        let schemes = [scheme(SchemeKind::Standard, verifier)];
        let own = delivered(&[scheme(SchemeKind::Standard, signer)], "m", NOW, b"body", URL);
        let svix = as_svix(&own);
        assert_eq!(svix.len(), 3);
        assert_eq!(check(&schemes, &svix, b"body", NOW), Ok(()));
        assert_eq!(check(&schemes, &svix, b"bodz", NOW), Err(Refusal::Mismatch));
        assert_eq!(check(&schemes, &svix, b"body", NOW + 301), Err(Refusal::Stale));
        assert_eq!(check(&schemes, &svix, b"body", NOW - 301), Err(Refusal::Future));

        for part in ["id", "timestamp", "signature"] {
            let (ours, theirs) = (format!("webhook-{part}"), format!("svix-{part}"));
            // A header of ours calls for all three of ours, good ones of Svix's or not.
            let mut mixed = svix.clone();
            mixed.insert(ours.parse::<HeaderName>().unwrap(), own[&ours].clone());
            assert_eq!(check(&schemes, &mixed, b"body", NOW), Err(Refusal::MissingHeader), "{part}");
            mixed.remove(&theirs);
            assert_eq!(check(&schemes, &mixed, b"body", NOW), Err(Refusal::MissingHeader), "{part}");
            let mut missing = svix.clone();
            missing.remove(&theirs);
            assert_eq!(check(&schemes, &missing, b"body", NOW), Err(Refusal::MissingHeader), "{part}");
            let mut twice = svix.clone();
            twice.append(theirs.parse::<HeaderName>().unwrap(), svix[&theirs].clone());
            assert_eq!(check(&schemes, &twice, b"body", NOW), Err(Refusal::DuplicateHeader), "{part}");
        }

        // Ours count where both are there whole: bad ones are not saved by good ones, nor good ones spoilt by bad ones.
        let mut both = own.clone();
        both.extend(as_svix(&delivered(&[scheme(SchemeKind::Standard, OTHER_HMAC)], "other", 1, b"other", URL)));
        assert_eq!(check(&schemes, &both, b"body", NOW), Ok(()));
        let mut both = svix.clone();
        both.extend(delivered(&[scheme(SchemeKind::Standard, OTHER_HMAC)], "m", NOW, b"body", URL));
        assert_eq!(check(&schemes, &both, b"body", NOW), Err(Refusal::Mismatch));
    }
}

#[test]
fn shopifys_newer_name_is_read_where_the_older_is_not_there() {
    let schemes = [scheme(SchemeKind::Shopify, "hush")];
    let own = delivered(&schemes, "m", NOW, b"body", URL);
    let mut newer = HeaderMap::new();
    newer.insert("shopify-hmac-sha256", own["x-shopify-hmac-sha256"].clone());
    assert_eq!(check(&schemes, &newer, b"body", NOW), Ok(()));
    assert_eq!(check(&schemes, &newer, b"bodz", NOW), Err(Refusal::Mismatch));
    let mut both = newer.clone();
    both.insert("x-shopify-hmac-sha256", "bad".parse().unwrap());
    assert_eq!(check(&schemes, &both, b"body", NOW), Err(Refusal::MalformedHeader));
    newer.append("shopify-hmac-sha256", own["x-shopify-hmac-sha256"].clone());
    assert_eq!(check(&schemes, &newer, b"body", NOW), Err(Refusal::DuplicateHeader));
}

#[test]
fn ids_that_could_be_read_two_ways_are_refused() {
    let schemes = [scheme(SchemeKind::Standard, HMAC)];
    // `a.<now>.<now>.b` is what is signed, whether the first or the second number is the timestamp.
    let body = format!("{NOW}.b");
    let good = delivered(&schemes, "a", NOW, body.as_bytes(), URL);
    assert_eq!(check(&schemes, &good, body.as_bytes(), NOW), Ok(()));
    let forged = with(&good, "webhook-id", &format!("a.{NOW}"));
    assert_eq!(check(&schemes, &forged, b"b", NOW), Err(Refusal::MalformedHeader));
}

#[test]
fn hex_is_read_in_either_case_and_prefixes_in_their_own() {
    let schemes = [scheme(SchemeKind::Github, "It's a Secret to Everybody")];
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let answer =
        |value: &str| check(&schemes, &with(&HeaderMap::new(), "x-hub-signature-256", value), b"Hello, World!", NOW);
    assert_eq!(answer(&format!("sha256={}", HEX.to_uppercase())), Ok(()));
    for bad in [
        HEX.to_owned(),
        format!("SHA256={HEX}"),
        format!("sha1={HEX}"),
        format!("sha256= {HEX}"),
        format!("sha256={HEX},sha256={HEX}"),
        format!("sha256=0x{HEX}"),
    ] {
        assert_eq!(answer(&bad), Err(Refusal::MalformedHeader), "{bad}");
    }
}

#[test]
fn one_scheme_does_not_take_the_signature_of_another() {
    for kind in SchemeKind::ALL {
        let headers = delivered(&[scheme(kind, HMAC)], "m", NOW, b"a=b", URL);
        for other in SchemeKind::ALL.into_iter().filter(|other| *other != kind) {
            assert!(check(&[scheme(other, HMAC)], &headers, b"a=b", NOW).is_err(), "{kind} taken by {other}");
        }
    }
}

#[test]
fn schemes_are_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Scheme>();
}

#[test]
fn numbers_are_written_as_the_standard_library_writes_them() {
    for number in [0, 1, 9, 10, 99, 100, 1_614_265_330, u64::MAX - 1, u64::MAX] {
        assert_eq!(Decimal::new(number).as_str(), number.to_string());
    }
}

#[test]
fn no_time_or_secret_makes_signing_fail() {
    for kind in SchemeKind::ALL {
        for timestamp_secs in [0, u64::MAX] {
            assert!(!delivered(&[scheme(kind, HMAC)], "m", timestamp_secs, b"\xff\0", "no url").is_empty());
        }
    }
}

#[test]
fn schemes_are_alike_where_they_sign_alike() {
    for kind in SchemeKind::ALL.iter().copied() {
        let with = |secrets: &[&str]| secrets.iter().map(|secret| scheme(kind, secret)).collect::<Vec<_>>();
        let one = with(&[HMAC]);
        assert!(sign_alike(&one, &with(&[HMAC])), "{kind}");
        assert!(!sign_alike(&one, &with(&[OTHER_HMAC])), "{kind}");
        assert!(!sign_alike(&one, &[]), "{kind}");
        assert!(!sign_alike(&with(&[HMAC, OTHER_HMAC]), &with(&[OTHER_HMAC, HMAC])), "{kind}");
    }
    assert!(sign_alike(&[], &[]));
    let private = || [scheme(SchemeKind::Standard, PRIVATE)];
    assert!(sign_alike(&private(), &private()));
    // GitHub's, spelled out, is another scheme though it signs the same: whoever changed it may want to see that.
    let options = Options { header: Some("x-hub-signature-256"), prefix: Some("sha256="), ..Options::default() };
    let spelled = Scheme::new(SchemeKind::Hmac, &Secret::new(HMAC.into()), &options).unwrap();
    assert!(!sign_alike(&[scheme(SchemeKind::Github, HMAC)], &[spelled]));
}
