//! What is taken, and what becomes of it.

use std::net::SocketAddr;

use super::super::{
    BreakerRules, Delivery, Durability, Endpoint, Format, Listen, OnDead, Order, RateLimit, Scope, Storage,
};
use super::*;
use crate::limits;
use crate::signature::SchemeKind;

fn only_endpoint(config: &Config) -> &Endpoint {
    assert_eq!(config.endpoints.len(), 1);
    config.endpoints.values().next().unwrap()
}

#[test]
fn an_empty_config_is_the_defaults_and_a_warning() {
    let config = parse("").unwrap();
    assert_eq!(config.api.listen, Listen::Tcp("127.0.0.1:8400".parse().unwrap()));
    assert_eq!(config.api.body_bytes_max, limits::MIB);
    assert_eq!((config.api.connections_max, config.api.connections_per_address_max), (16_384, 1_024));
    assert_eq!(config.storage.dir, Path::new("/var/lib/webhookd"));
    assert_eq!(config.storage.retention_ms, 7 * 86_400_000);
    assert_eq!(config.storage.size_bytes_max, 10 << 30);
    assert_eq!(config.storage.durability, Durability::Fsync);
    assert!(config.endpoints.is_empty());
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("no [endpoint.NAME] yet"));
}

#[test]
fn an_endpoint_takes_the_defaults_of_the_contract() {
    let config = parse(&endpoint("")).unwrap();
    let endpoint = only_endpoint(&config);
    assert_eq!(endpoint.name.as_str(), "a");
    assert!(endpoint.events.takes("invoice.paid"));
    assert_eq!(endpoint.signing.len(), 1);
    assert_eq!(endpoint.signing[0].kind(), SchemeKind::Standard);
    assert_eq!(endpoint.format, Format::Standard);
    assert_eq!(endpoint.timeout_ms, 15_000);
    assert_eq!(endpoint.in_flight_max, 32);
    assert_eq!(endpoint.retry.waits_ms.len(), 9);
    assert_eq!(endpoint.retry.waits_ms.iter().sum::<u64>(), 75 * 3_600_000 + 35 * 60_000 + 5000);
    assert_eq!((endpoint.retry.jitter, endpoint.retry.retry_after_ms_max), (0.2, 86_400_000));
    assert_eq!(endpoint.response_bytes_max, 1024);
    assert_eq!((endpoint.order, endpoint.rate_limit), (Order::None, None));
    assert_eq!(endpoint.breaker, Some(BreakerRules { failures: 20, cooldown_ms: 30_000, cooldown_ms_max: 600_000 }));
    assert_eq!(endpoint.disable_after_ms, Some(5 * 86_400_000));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_endpoint_takes_from_delivery_what_it_does_not_set_itself() {
    let text = format!(
        "{}\n[delivery]\ntimeout = \"3s\"\nmax_in_flight = 7\nretry = [\"1s\"]\njitter = 1\nmax_retry_after = \"0s\"\n\
         allow_networks = [\"10.0.0.0/8\", \"::1\"]\nlog_response_bytes = \"8KiB\"\n",
        endpoint("timeout = \"250ms\"\njitter = 0.5\nallow_networks = []")
    );
    let config = parse(&text).unwrap();
    let endpoint = only_endpoint(&config);
    assert_eq!((endpoint.timeout_ms, endpoint.retry.jitter), (250, 0.5));
    assert!(endpoint.allow_networks.is_empty(), "its own list stands instead of that of [delivery]");
    assert_eq!((endpoint.in_flight_max, endpoint.response_bytes_max), (7, 8192));
    assert_eq!((endpoint.retry.waits_ms.as_slice(), endpoint.retry.retry_after_ms_max), (&[1000][..], 0));
}

#[test]
fn every_key_of_an_endpoint_arrives() {
    let place = Place::new().with_pem();
    let lines = r#"
        events = ["invoice.*", "!invoice.draft"]
        sign = { scheme = "hmac", header = "x-signature", algorithm = "sha512", encoding = "base64", prefix = "v=" }
        format = "raw"
        headers = { "X-Tenant" = "acme", accept = "*/*" }
        permanent = [422, 400, 422]
        tls = { ca = "ca.pem", cert = "client.pem", key = "client.key" }
        order = "key"
        rate_limit = "100/m"
        breaker = { failures = 3 }
        disable_after = "off"
        allow_networks = ["10.1.0.0/16", "192.168.0.7", "fd00::/8"]
    "#;
    let config = place.parse(&endpoint(lines)).unwrap();
    let endpoint = only_endpoint(&config);
    assert!(endpoint.events.takes("invoice.paid") && !endpoint.events.takes("invoice.draft"));
    assert_eq!(endpoint.signing[0].kind(), SchemeKind::Hmac);
    assert_eq!(endpoint.format, Format::Raw);
    assert_eq!(endpoint.permanent, [400, 422]);
    let headers: Vec<_> = endpoint.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    assert!(headers.contains(&("x-tenant", &b"acme"[..])) && headers.contains(&("accept", &b"*/*"[..])));
    let tls = endpoint.tls.as_ref().unwrap();
    assert_eq!((tls.ca.len(), tls.client.as_ref().unwrap().0.len()), (1, 1));
    assert_eq!(endpoint.order, Order::Key);
    assert_eq!(endpoint.rate_limit, Some(RateLimit { count: 100, per_ms: 60_000, burst: 1 }));
    assert_eq!(endpoint.breaker, Some(BreakerRules { failures: 3, cooldown_ms: 30_000, cooldown_ms_max: 600_000 }));
    assert_eq!(endpoint.disable_after_ms, None);
    let networks: Vec<_> = endpoint.allow_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.1.0.0/16", "192.168.0.7/32", "fd00::/8"]);
}

#[test]
fn certificates_are_public_and_their_keys_are_not() {
    let place = Place::new().with_pem();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::set_permissions(place.path().join(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let text = "[endpoint.a]\nurl = \"https://a.example.com/\"\nsign = \"none\"\n\
                tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }\n";
    let warnings = place.parse(text).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("endpoint.a.tls.key: everyone on this machine may read"), "{warnings:?}");
}

#[test]
fn unsigned_can_be_said_both_ways() {
    for sign in ["\"none\"", "{ scheme = \"none\" }"] {
        let text = format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsign = {sign}\n");
        let config = Place::new().parse(&text).unwrap_or_else(|errors| panic!("{sign}: {errors}"));
        assert!(config.endpoints["a"].signing.is_empty(), "{sign}");
    }
}

#[test]
fn a_burst_and_a_longest_cooldown_may_be_named() {
    let rate = |text: &str| only_endpoint(&parse(&endpoint(&format!("rate_limit = {text}"))).unwrap()).rate_limit;
    assert_eq!(rate("{ rate = \"60/m\", burst = 5 }"), Some(RateLimit { count: 60, per_ms: 60_000, burst: 5 }));
    assert_eq!(rate("{ rate = \"5000/s\" }"), Some(RateLimit { count: 5000, per_ms: 1000, burst: 50 }));
    let breaker = |text: &str| only_endpoint(&parse(&endpoint(&format!("breaker = {text}"))).unwrap()).breaker;
    let rules = |cooldown_ms, cooldown_ms_max| Some(BreakerRules { failures: 20, cooldown_ms, cooldown_ms_max });
    assert_eq!(breaker("{ cooldown = \"1s\", max_cooldown = \"8s\" }"), rules(1_000, 8_000));
    assert_eq!(breaker("{ cooldown = \"1h\" }"), rules(3_600_000, 3_600_000), "never shorter than the cooldown");
}

#[test]
fn a_dead_delivery_may_block_where_there_is_an_order() {
    let on_dead = |text: &str| only_endpoint(&parse(&endpoint(text)).unwrap()).on_dead;
    assert_eq!(on_dead("order = \"key\""), OnDead::Skip);
    assert_eq!(on_dead("order = \"strict\"\non_dead = \"block\""), OnDead::Block);
}

#[test]
fn listeners_are_addresses_or_sockets() {
    let place = Place::new();
    let listen = |text: &str| place.parse(&format!("[api]\nlisten = {text:?}\n")).unwrap().api.listen;
    let tcp = |text: &str| Listen::Tcp(text.parse::<SocketAddr>().unwrap());
    assert_eq!(listen("127.0.0.1:0"), tcp("127.0.0.1:0"));
    assert_eq!(listen("[::1]:8400"), tcp("[::1]:8400"));
    assert_eq!(listen("localhost:8400"), tcp("127.0.0.1:8400"));
    assert_eq!(listen("127.9.9.9:1"), tcp("127.9.9.9:1"));
    assert_eq!(listen("unix:/run/webhookd/api.sock"), Listen::Unix("/run/webhookd/api.sock".into()));
    assert_eq!(listen("unix:api.sock"), Listen::Unix(place.path().join("api.sock")));
    let longest = format!("/{}", "x".repeat(limits::UNIX_PATH_BYTES_MAX - 1));
    assert_eq!(listen(&format!("unix:{longest}")), Listen::Unix(longest.into()));
}

#[test]
fn a_token_opens_an_address_to_others() {
    let text = "[api]\nlisten = \"0.0.0.0:8400\"\ntoken.app = { secret = \"0123456789abcdef\", scope = \"send\" }\n\
                token.ops = { secret = \"fedcba9876543210\", scope = \"admin\" }\n";
    let api = parse(text).unwrap().api;
    let tokens: Vec<_> = api.tokens.iter().map(|t| (t.name.as_str(), t.secret.expose(), t.scope)).collect();
    let expected = [("app", &b"0123456789abcdef"[..], Scope::Send), ("ops", b"fedcba9876543210", Scope::Admin)];
    assert_eq!(tokens, expected);
}

#[test]
fn a_secret_may_stand_in_each_of_its_places() {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("hook"), WHSEC).unwrap();
    let place = Place::new()
        .file("lf", format!("{WHSEC}\n"))
        .file("crlf", format!("{WHSEC}\r\n"))
        .variable("HOOK_SECRET", WHSEC)
        .variable("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    let absolute = place.path().join("lf");
    for secret in [
        "{ file = \"lf\" }".to_owned(),
        "{ file = \"crlf\" }".to_owned(),
        format!("{{ file = {absolute:?} }}"),
        "{ env = \"HOOK_SECRET\" }".to_owned(),
        "{ credential = \"hook\" }".to_owned(),
        format!("[{{ file = \"lf\" }}, {WHSEC:?}, {{ env = \"HOOK_SECRET\" }}]"),
    ] {
        let text = format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = {secret}\n");
        let config = place.parse(&text).unwrap_or_else(|errors| panic!("{secret}: {errors}"));
        let count = if secret.starts_with('[') { 3 } else { 1 };
        assert_eq!(only_endpoint(&config).signing.len(), count, "{secret}");
    }
}

#[test]
fn only_one_newline_of_a_secret_file_is_dropped() {
    let token = |content: &str| {
        let place = Place::new().file("t", content);
        let config = place.parse("[api]\ntoken.a = { secret = { file = \"t\" }, scope = \"send\" }\n");
        config.map(|config| config.api.tokens[0].secret.expose().to_vec())
    };
    assert_eq!(token("0123456789abcdef\n").unwrap(), b"0123456789abcdef");
    assert_eq!(token("0123456789abcdef").unwrap(), b"0123456789abcdef");
    assert!(token("0123456789abcdef\n\n").is_err(), "a newline in a token cannot be sent");
}

#[test]
fn a_secret_file_that_everyone_may_read_is_worth_a_warning() {
    let place = Place::new().file("open", WHSEC);
    let path = place.path().join("open");
    let text = "[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = { file = \"open\" }\n";
    assert!(place.parse(text).unwrap().warnings.is_empty());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let warnings = place.parse(text).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("webhookd.toml:3: endpoint.a.secret.file: everyone on this machine may read"));
}

#[test]
fn settings_that_cannot_work_as_meant_are_worth_a_warning() {
    for (text, word) in [
        ("[storage]\ndurability = \"interval\"\n".to_owned(), "power cut"),
        (endpoint("sign = \"none\""), "this secret is not used"),
        (endpoint("events = []"), "takes no events"),
        (
            "[endpoint.a]\nurl = \"http://127.0.0.1:9000/\"\nsign = \"none\"\n".to_owned(),
            "allow_networks = [\"127.0.0.1\"]",
        ),
        ("[endpoint.a]\nurl = \"http://localhost/\"\nsign = \"none\"\n".to_owned(), "will be refused"),
        (
            endpoint("").replace(&format!("{WHSEC:?}"), "[\"one\", \"two\"]\nsign = { scheme = \"github\" }"),
            "room for one signature",
        ),
    ] {
        let warnings = parse(&text).unwrap_or_else(|errors| panic!("{text}: {errors}")).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(word)), "{word} in {warnings:?}");
    }
    let allowed =
        "[endpoint.a]\nurl = \"http://127.0.0.1:9000/\"\nsign = \"none\"\nallow_networks = [\"127.0.0.0/8\"]\n";
    assert!(parse(allowed).unwrap().warnings.is_empty());
}

#[test]
fn relative_paths_start_at_the_folder_of_the_config() {
    let place = Place::new();
    let file = place.path().join("webhookd.toml");
    std::fs::write(&file, "[storage]\ndir = \"data\"\n").unwrap();
    let config = Config::load(&file, &|_| None).unwrap();
    assert_eq!(config.storage.dir, place.path().join("data"));
}

#[test]
fn a_config_can_be_built_in_code() {
    let name = crate::model::text::EndpointName::parse("sink").unwrap();
    let url = url::Url::parse("http://127.0.0.1:1/").unwrap();
    let endpoint = Endpoint { format: Format::Raw, ..Endpoint::new(name.clone(), url, &Delivery::default()) };
    let config = Config {
        api: super::super::Api::default(),
        inbound: None,
        sources: BTreeMap::new(),
        storage: Storage { dir: "data".into(), ..Storage::default() },
        endpoints: [(name, std::sync::Arc::new(endpoint))].into(),
        lapsed: None,
        warnings: Vec::new(),
    };
    assert_eq!(only_endpoint(&config).retry.waits_ms.len(), 9);
}

#[test]
fn the_summary_tells_what_runs() {
    let config = parse(&endpoint("events = []").replace(".com/", ".com/services/T0/B0")).unwrap();
    let summary = config.summary();
    assert_eq!(
        summary,
        "listens on http://127.0.0.1:8400, no token: whoever reaches it may do everything\n\
         stores in /var/lib/webhookd, up to 10GiB, finished events for 7d, each event on the disk before it is acknowledged\n\
         1 endpoint:\n  a -> https://a.example.com, signed\n\
         warning: webhookd.toml:4: endpoint.a.events: the list is empty, so the endpoint takes no events; leave the key out \
         to take all"
    );
}
