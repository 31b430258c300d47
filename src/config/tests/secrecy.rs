//! What is never shown.

use proptest::prelude::*;

use super::*;

/// Places where a secret, or something with a secret in it, can stand; rightly or by mistake. `S` is the secret.
const PLACES: &[&str] = &[
    "[endpoint.a]\nsecret = \"S\"\n",
    "[endpoint.a]\nsecret = [\"S\", 1]\n",
    "[endpoint.a]\nsecret = { \"S\" = 1 }\n",
    "[endpoint.a]\nsecret = { file = \"S\", env = \"S\" }\n",
    "[endpoint.a]\nsecret = { value = \"S\" }\n",
    "[endpoint.a]\nsecret = \"S\"\nsign = \"S\"\n",
    "[endpoint.a]\nsign = { scheme = \"standard\", secret = \"S\" }\n",
    "[endpoint.a]\nsecret = \"S\"\nsign = { scheme = \"basic\", username = \"a:b\" }\n",
    "[endpoint.a]\nsecret = \"S\"\nsign = { scheme = \"token\", header = \"\" }\n",
    "[endpoint.a]\nsecrets = \"S\"\n",
    "[endpoint.a]\nurl = \"ftp://a.example.com/S\"\n",
    "[endpoint.a]\nurl = \"https://x:S@a.example.com/\"\n",
    "[endpoint.a]\nurl = \"S\"\n",
    "[endpoint.a]\nheaders = { authorization = \"Bearer S\\n\" }\n",
    "[endpoint.a]\nheaders = { authorization = [\"S\"] }\n",
    "[endpoint.a]\nheaders = \"S\"\n",
    "[endpoint]\na = \"S\"\n",
    "[api]\ntoken = \"S\"\n",
    "[api]\ntoken.a = \"S\"\n",
    "[api]\ntoken.a = { secret = \"S\" }\n",
    "[api]\ntoken.a = { secret = \"S \", scope = \"send\" }\n",
    "[api]\ntoken.a = { secret = \"S\", scope = \"send\" }\ntoken.b = { secret = \"S\", scope = \"send\" }\n",
    "[api]\ntoken.a = { secret = \"S\", scop = \"send\" }\n",
    "[api]\ntoken.a = { secret = \"S\n",
    "[source.a]\nsecret = \"S\"\n",
    "[source.a]\nsecrets = \"S\"\n",
    "[source.a]\nverify = { scheme = \"github\", secret = \"S\" }\nsecret = \"S\"\n",
    "[source.a]\nverify = \"S\"\n",
    "[source.a]\nverify = { scheme = \"none\", secret = \"S\" }\n",
    "[source.a]\nverify = { scheme = \"standard\", secret = \"S\" }\n",
    "[source.a]\nverify = { scheme = \"github\", secret = [\"S\", 1] }\n",
    "[source.a]\nverify = { scheme = \"github\", secret = \"S\", secrets = \"S\" }\n",
    "[source.a]\nverify = { scheme = \"github\", secret = { value = \"S\" } }\n",
    "[source.a]\nverify = { scheme = \"basic\", secret = \"S\", username = \"a:b\" }\n",
    "[source.a]\nverify = { scheme = \"hmac\", secret = \"S\", header = \"x\", algorithm = \"md5\" }\n",
    "[source.a]\nverify = \"none\"\nverify_token = [\"S\"]\n",
    "[source.a]\nverify = \"none\"\nverify_token = { value = \"S\" }\n",
    "[source.a]\nverify = \"none\"\nevent_type = \"S\"\n",
    "[source.a]\nverify = { scheme = \"twilio\", secret = \"S\" }\npublic_url = \"ftp://a.example.com/S\"\n",
    "[source.a]\nverify = { scheme = \"twilio\", secret = \"S\" }\npublic_url = \"https://x:pS@a.example.com/\"\n",
    "[source.a]\nverify = { scheme = \"github\", secret = \"S\" }\npublic_url = \"https://a.example.com/S\"\n",
    "[source]\na = \"S\"\n",
    "[endpoint.a]\nsecret = S\n",
    "[endpoint.a]\nsecret = { S }\n",
    "[endpoint.a]\nsecret = \"S\"\nsecret = \"S\"\n",
];

/// Places where a secret is recognised by its look alone.
const STRAYED: &[&str] = &[
    "[endpoint.a]\nsecret = { file = \"S\" }\n",
    "[endpoint.a]\nsecret = { env = \"S\" }\n",
    "[endpoint.a]\nsecret = { credential = \"S\" }\n",
    "[endpoint.a]\nsecret = \"S\"\nsign = { scheme = \"S\" }\n",
    "[endpoint.a]\nsecret = \"S\"\nsign = { scheme = \"hmac\", header = \"x\", algorithm = \"S\" }\n",
    "[endpoint.a]\nS = \"S\"\n",
    "[endpoint.a]\ntls = { ca = \"S\" }\n",
    "[endpoint.a]\ntls = { cert = \"client-S.pem\", key = \"/S\" }\n",
    "[endpoint.a]\nformat = \"S\"\n",
    "[endpoint.a]\ntimeout = \"S\"\n",
    "[endpoint.a]\nallow_networks = [\"S\"]\n",
    "[endpoint.a]\nrate_limit = \"S\"\n",
    "[source.a]\nS = \"S\"\n",
    "[source.a]\nverify = { scheme = \"S\", secret = \"S\" }\n",
    "[source.a]\nverify = { scheme = \"hmac\", secret = \"S\", header = \"x\", algorithm = \"S\" }\n",
    "[source.a]\nverify = { scheme = \"hmac\", secret = \"S\", header = \"x\", tolerance = \"S\" }\n",
    "[source.a]\nverify = \"none\"\ndedup = { header = \"S \" }\n",
    "[source.a]\nverify = \"none\"\ndedup = { json = \"S\" }\n",
    "[source.a]\nverify = \"none\"\nrespond = { content_type = \"S\" }\n",
    "[source.a]\nverify = \"none\"\ntrusted_proxies = [\"S\"]\n",
    "[source.a]\nverify = \"none\"\nrate_limit = \"S\"\n",
    "[inbound]\nproxy_protocol = [\"S\"]\n",
    "[api]\nlisten = \"S\"\n",
    "[api]\ntoken.a = { secret = \"0123456789abcdef\", scope = \"S\" }\n",
];

/// Texts that come near to being a config.
const TOML_LIKE: &str = concat!(
    r#"(\[(api|inbound|storage|delivery|endpoint\.a|source\.a|api\.token)\]|(listen|token|dir|retry|jitter|url|sign|verify|dedup|secret|[a-z_]{1,9}) = "#,
    r#"|[0-9]{1,30}|"[^"]{0,9}"|[\[\]{}=,.#\n ]|\PC){0,40}"#,
);

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_error_shows_a_secret(secret in "[A-Za-z0-9+/]{16,40}") {
        for place in PLACES {
            let text = place.replace('S', &secret);
            let errors = parse(&text).expect_err(place);
            prop_assert!(!errors.to_string().contains(&secret), "{}: {}", place, errors);
            prop_assert!(!format!("{errors:?}").contains(&secret), "{}", place);
        }
    }

    #[test]
    fn no_error_shows_a_secret_that_strayed(tail in "[A-Za-z0-9]{32}") {
        let secret = format!("whsec_{tail}");
        for place in STRAYED {
            let text = place.replace('S', &secret);
            let errors = parse(&text).expect_err(place);
            prop_assert!(!errors.to_string().contains(&tail), "{}: {}", place, errors);
        }
    }

    /// Whatever a file holds, it is answered.
    #[test]
    fn any_text_is_answered(text in TOML_LIKE) {
        let _ = parse(&text);
    }
}

/// Everything of a config that holds a secret, as `Debug` shows it, and what is made of it.
#[test]
fn debug_and_summary_show_no_secret() {
    let ed25519 = crate::signature::standard::KeyPair::generate().unwrap();
    let ed25519 = str::from_utf8(ed25519.private.expose()).unwrap().to_owned();
    let place = Place::new().with_pem().file("ed25519", &ed25519);
    let one = |name: &str, lines: &str| {
        format!("[endpoint.{name}]\nurl = \"https://a.example.com/hidden-path?key=hidden-query\"\n{lines}\n")
    };
    let text = format!(
        "[api]\ntoken.a = {{ secret = \"token-0123456789abcdef\", scope = \"send\" }}\n{}{}{}{}{}{}{}",
        one(
            "standard",
            &format!(
                "secret = \"{WHSEC}\"\nheaders = {{ authorization = \"Bearer abcdef0123\", x-key = \"hidden-header\" }}\n\
                 tls = {{ cert = \"client.pem\", key = \"client.key\" }}"
            )
        ),
        one("asymmetric", "secret = { file = \"ed25519\" }"),
        one("github", "secret = \"hidden-github\"\nsign = { scheme = \"github\" }"),
        one("fixed", "secret = \"hidden-fixed\"\nsign = { scheme = \"token\" }"),
        one("basic", "secret = \"hidden-password\"\nsign = { scheme = \"basic\", username = \"me\" }"),
        "[source.b]\nverify = { scheme = \"basic\", secret = \"hidden-password\", username = \"me\" }\n\
         verify_token = \"hidden-token\"\n",
        "[source.c]\nverify = { scheme = \"stripe\", secret = [\"hidden-one\", \"hidden-two\"] }\n",
    );
    let config = place.parse(&text).unwrap();
    let key = std::fs::read_to_string(place.path().join("client.key")).unwrap();
    let endpoint = &config.endpoints["standard"];
    let secrets = [
        "token-0123456789abcdef",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "abcdef0123",
        "hidden",
        &hex::encode("hidden"),
        // Bytes as `Debug` shows them: "hidde", and the Basic credentials in Base64.
        "104, 105, 100, 100, 101",
        "bWU6aGlkZGVuLXBhc3N3b3Jk",
        &ed25519[10..],
        key.lines().nth(1).unwrap(),
    ];
    let debug: [&dyn std::fmt::Debug; 6] =
        [&config, &config.api.tokens, endpoint, &endpoint.tls, &endpoint.signing, &config.sources];
    let shown = debug.iter().flat_map(|one| [format!("{one:?}"), format!("{one:#?}")]);
    for shown in shown.chain([config.summary(), config.warnings.join("\n")]) {
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}
