//! Certificates of listeners: what `check` says of each that would not do, and of those that soon will not.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};

use super::*;
use crate::config::Listen;

const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";

/// The moment at which the tests of this file take place.
fn now() -> UnixMs {
    UnixMs::parse_rfc3339("2026-06-15T12:00:00Z").unwrap()
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root() -> Authority {
    CertifiedIssuer::self_signed(authority_params("root"), KeyPair::generate().unwrap()).unwrap()
}

fn with_cert(params: &CertificateParams) -> Place {
    let key = KeyPair::generate().unwrap();
    Place::new().file("cert.pem", params.self_signed(&key).unwrap().pem()).file("key.pem", key.serialize_pem())
}

fn api(lines: &str) -> String {
    format!("[api]\n{lines}\n")
}

fn faults_of(place: &Place, text: &str) -> Vec<String> {
    let errors = place.parse_at(text, now()).expect_err(text);
    errors.lines().map(|line| line.strip_prefix("webhookd.toml:").unwrap_or(&line).to_owned()).collect()
}

#[track_caller]
fn refused(place: &Place, tls: &str, start: &str, words: &str) {
    let faults = faults_of(place, &api(tls));
    assert_eq!(faults.len(), 1, "{tls}\n{faults:#?}");
    assert!(faults[0].starts_with(start) && faults[0].contains(words), "{start} … {words}\n{}", faults[0]);
}

/// What is said of a config that is right, besides that there is no endpoint.
#[track_caller]
fn warned(place: &Place, text: &str) -> Vec<String> {
    let config = place.parse_at(text, now()).unwrap_or_else(|errors| panic!("{errors}"));
    config.warnings.into_iter().filter(|warning| !warning.contains("there is no [endpoint.NAME]")).collect()
}

#[test]
fn a_listener_takes_a_certificate_a_chain_and_roots_for_its_clients() {
    let root = root();
    let between = CertifiedIssuer::signed_by(authority_params("between"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params("hooks.example.com").signed_by(&key, &between).unwrap();
    let chain = format!("{}{}", leaf.pem(), between.pem());
    let place = Place::new()
        .file("cert.pem", chain)
        .file("key.pem", key.serialize_pem())
        .file("ca.pem", format!("{}{}", root.pem(), between.pem()));
    let text = "[api]\ntls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }\n\
        [inbound]\nlisten = \"0.0.0.0:8443\"\nmax_body = \"2MiB\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let config = place.parse_at(text, now()).unwrap();
    let tls = config.api.tls.as_ref().unwrap();
    assert_eq!((tls.chain.len(), tls.client_ca.len()), (2, 2));
    assert_eq!(tls.expires, UnixMs::parse_rfc3339("2027-01-01T00:00:00Z").unwrap());
    assert_eq!(tls.files.cert, place.path().join("cert.pem"));
    assert_eq!(config.api.address(), "https://127.0.0.1:8400");
    let inbound = config.inbound.as_ref().unwrap();
    assert_eq!(inbound.listen, Listen::Tcp("0.0.0.0:8443".parse().unwrap()));
    assert_eq!((inbound.body_bytes_max, inbound.tls.as_ref().unwrap().client_ca.len()), (2 << 20, 0));
    let summary = config.summary();
    assert!(summary.contains("listens on https://127.0.0.1:8400 with a certificate until 2027-01-01"), "{summary}");
    assert!(summary.contains("for clients with a certificate of client_ca"), "{summary}");
    assert!(summary.contains("would take webhooks of others on https://0.0.0.0:8443"), "{summary}");
    assert!(!format!("{config:?}").contains("PRIVATE"), "a key is never shown");
}

#[test]
fn keys_of_every_usual_kind_are_taken() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let place = Place::new()
            .file("cert.pem", params("a.example.com").self_signed(&key).unwrap().pem())
            .file("key.pem", key.serialize_pem());
        assert!(warned(&place, &api(TLS)).is_empty());
    }
}

#[test]
fn files_that_cannot_be_used_are_told_with_what_to_do() {
    let good = with_cert(&params("a.example.com"));
    let other = KeyPair::generate().unwrap();
    let der = params("a.example.com").self_signed(&other).unwrap().der().to_vec();
    let place = good
        .file("other.pem", other.serialize_pem())
        .file("der.pem", der)
        .file("text", "hello")
        .file("broken", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        .file("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .file("large", vec![b'x'; crate::limits::PEM_BYTES_MAX + 1])
        .file("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .file(
            "locked-old",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        )
        .file("odd", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let cert = |file: &str| format!("tls = {{ cert = \"{file}\", key = \"key.pem\" }}");
    let key = |file: &str| format!("tls = {{ cert = \"cert.pem\", key = \"{file}\" }}");
    let client = |file: &str| format!("tls = {{ cert = \"cert.pem\", key = \"key.pem\", client_ca = \"{file}\" }}");
    let (at_cert, at_key, at_ca) = ("2:16: api.tls.cert: ", "2:34: api.tls.key: ", "2:57: api.tls.client_ca: ");
    let table = [
        (cert("none.pem"), at_cert, "none.pem cannot be read: No such file"),
        (cert("text"), at_cert, "holds no certificate"),
        (cert("key.pem"), at_cert, "wrong way round"),
        (cert("der.pem"), at_cert, "openssl x509 -inform der"),
        (cert("broken"), at_cert, "not valid PEM"),
        (cert("large"), at_cert, "too large"),
        (key("none.pem"), at_key, "none.pem cannot be read: No such file"),
        (key("text"), at_key, "no usable private key"),
        (key("cert.pem"), at_key, "no usable private key"),
        (key("locked"), at_key, "is encrypted, and webhookd knows no passphrase"),
        (key("locked-old"), at_key, "is encrypted, and webhookd knows no passphrase"),
        (key("odd"), at_key, "of no supported kind"),
        (key("other.pem"), at_key, "does not fit the certificate"),
        (client("none.pem"), at_ca, "cannot be read"),
        (client("text"), at_ca, "holds no certificate"),
        (client("nonsense"), at_ca, "certificate 1 of the file cannot be a root"),
    ];
    for (tls, start, words) in table {
        refused(&place, &tls, start, words);
    }
    refused(&place, "tls = { cert = \"cert.pem\" }", "2:1: api.tls.key: ", "missing; write key = \"key.pem\"");
    refused(&place, "tls = { key = \"key.pem\" }", "2:1: api.tls.cert: ", "missing; write cert = \"cert.pem\"");
    refused(&place, "tls = true", "2:7: api.tls: ", "expected a table");
    refused(
        &place,
        "tls = { cert = \"cert.pem\", key = \"key.pem\", ca = \"x\" }",
        "2:45: api.tls.ca: ",
        "unknown key",
    );
    // What is no certificate at all fits no key either.
    assert!(faults_of(&place, &api(&cert("nonsense")))[0].contains("certificate 1 of the file cannot be read"));
    // Every fault of the table at once.
    let faults = faults_of(&place, &api("tls = { cert = \"text\", key = \"locked\", client_ca = \"none.pem\" }"));
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

#[test]
fn a_certificate_that_does_not_hold_now_is_refused_with_its_dates() {
    let mut expired = params("a.example.com");
    expired.not_after = rcgen::date_time_ymd(2026, 6, 1);
    refused(&with_cert(&expired), TLS, "2:16: api.tls.cert: ", "has been expired since 2026-06-01T00:00:00Z");
    let mut early = params("a.example.com");
    early.not_before = rcgen::date_time_ymd(2026, 7, 1);
    let words = "is not valid before 2026-07-01T00:00:00Z, and it is 2026-06-15T12:00:00Z now";
    refused(&with_cert(&early), TLS, "2:16: api.tls.cert: ", words);
}

#[test]
fn a_certificate_that_ends_within_thirty_days_is_worth_a_word() {
    let ending = |month: u8, day: u8| {
        let mut params = params("a.example.com");
        params.not_after = rcgen::date_time_ymd(2026, month, day);
        warned(&with_cert(&params), &api(TLS))
    };
    assert_eq!(ending(7, 16), Vec::<String>::new(), "30 days and a half");
    let warning =
        "webhookd.toml:2: api.tls.cert: the certificate expires on 2026-07-15T00:00:00Z, 29 days from now; renew it";
    assert_eq!(ending(7, 15), [warning]);
}

#[test]
fn a_certificate_that_clients_refuse_is_refused_here() {
    refused(
        &with_cert(&authority_params("a.example.com")),
        TLS,
        "2:16: api.tls.cert: ",
        "one of an authority (CA:TRUE)",
    );
    let mut nameless = params("a.example.com");
    nameless.subject_alt_names.clear();
    refused(&with_cert(&nameless), TLS, "2:16: api.tls.cert: ", "has no subjectAltName");
}

#[test]
fn a_chain_has_an_order() {
    let root = root();
    let between = CertifiedIssuer::signed_by(authority_params("between"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params("a.example.com").signed_by(&key, &between).unwrap();
    let stranger = CertifiedIssuer::self_signed(authority_params("stranger"), KeyPair::generate().unwrap()).unwrap();
    let place = |parts: &[String]| Place::new().file("cert.pem", parts.concat()).file("key.pem", key.serialize_pem());
    let (leaf, between, root, stranger) = (leaf.pem(), between.pem(), root.pem(), stranger.pem());
    for right in
        [vec![leaf.clone()], vec![leaf.clone(), between.clone()], vec![leaf.clone(), between.clone(), root.clone()]]
    {
        assert!(warned(&place(&right), &api(TLS)).is_empty());
    }
    let turned = place(&[leaf.clone(), root, between.clone()]);
    refused(&turned, TLS, "2:16: api.tls.cert: ", "stand in the wrong order; put the server's own first");
    let faults = faults_of(&place(&[between, leaf.clone()]), &api(TLS));
    assert!(faults.iter().any(|fault| fault.contains("the private key fits certificate 2 of the file")), "{faults:#?}");
    let warnings = warned(&place(&[leaf, stranger]), &api(TLS));
    assert!(warnings[0].contains("certificate 2 of the file did not issue certificate 1"), "{warnings:?}");
}

#[test]
fn old_roots_are_worth_a_word_and_old_client_certificates_are_refused() {
    let mut old = authority_params("old");
    old.not_after = rcgen::date_time_ymd(2026, 2, 1);
    let key = KeyPair::generate().unwrap();
    let place = with_cert(&params("a.example.com")).file("ca.pem", old.self_signed(&key).unwrap().pem());
    let text = api("tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }");
    let warnings = warned(&place, &text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("api.tls.client_ca: certificate 1 of the file has been expired since 2026-02-01"));

    let warnings = warned(&place, &endpoint("tls = { ca = \"ca.pem\" }"));
    assert!(
        warnings[0].contains("endpoint.a.tls.ca: certificate 1 of the file has been expired since"),
        "{warnings:?}"
    );
    let mut expired = params("client");
    expired.not_after = rcgen::date_time_ymd(2026, 6, 1);
    let place = with_cert(&expired);
    let faults = faults_of(&place, &endpoint(TLS));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(
        faults[0].starts_with("4:16: endpoint.a.tls.cert: the certificate has been expired since"),
        "{}",
        faults[0]
    );
    let mut ending = params("client");
    ending.not_after = rcgen::date_time_ymd(2026, 6, 20);
    let warnings = warned(&with_cert(&ending), &endpoint(TLS));
    assert!(warnings[0].contains("endpoint.a.tls.cert: the certificate expires on 2026-06-20"), "{warnings:?}");
}

#[test]
fn tls_has_its_place_on_tcp_addresses() {
    let place = with_cert(&params("a.example.com"));
    let faults = faults_of(&place, &api(&format!("listen = \"unix:/run/a.sock\"\n{TLS}")));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(faults[0].starts_with("3:1: api.tls: a unix socket needs no TLS"), "{}", faults[0]);
    // A client certificate is no token.
    let text = format!("listen = \"0.0.0.0:1\"\n{}", TLS.replace(" }", ", client_ca = \"cert.pem\" }"));
    let faults = faults_of(&place, &api(&text));
    assert!(faults[0].starts_with("2:10: api.listen: ") && faults[0].contains("without a token"), "{}", faults[0]);
}

#[test]
fn tokens_in_the_clear_are_worth_a_word() {
    let token = "token.app = { secret = \"0123456789abcdef\", scope = \"send\" }";
    let place = with_cert(&params("a.example.com"));
    let open = api(&format!("listen = \"192.0.2.1:8400\"\n{token}"));
    let warnings = warned(&place, &open);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("webhookd.toml:2: api.listen: ") && warnings[0].contains("travel in the clear"));
    assert!(warned(&place, &format!("{open}{TLS}\n")).is_empty());
    assert!(warned(&place, &api(token)).is_empty(), "loopback is nobody's way");
}

#[test]
fn what_a_reload_changes_of_tls_is_told() {
    let place = with_cert(&params("a.example.com")).with_pem();
    let (none, some) = (api(""), api(TLS));
    let mutual = api("tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }");
    let inbound = format!("[inbound]\n{TLS}\n");
    let parse = |text: &str| place.parse_at(text, now()).unwrap();
    let changes = |before: &str, after: &str| parse(before).renewed(parse(after));
    assert_eq!(changes(&some, &mutual).1.settings, ["api.tls"]);
    assert!(changes(&mutual, &mutual).1.is_empty());
    assert_eq!(changes(&none, &inbound).1.settings, ["inbound.tls"]);
    for (before, after, is_https) in [(&none, &some, false), (&some, &none, true)] {
        let (config, changes) = changes(before, after);
        assert_eq!((changes.settings.len(), changes.needs_restart), (0, vec!["api.tls"]));
        assert_eq!(config.api.tls.is_some(), is_https, "as it is until the restart");
    }
    let before = parse(&some);
    let place = with_cert(&params("b.example.com"));
    let after = Config::parse_at(&some, "webhookd.toml", place.path(), &|_| None, now()).unwrap();
    assert_eq!(before.renewed(after).1.settings, ["api.tls"], "another content");
}
