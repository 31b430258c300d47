//! What a changed config changes, and what keeps its value until a restart.

use super::*;
use crate::config::keys::{DELIVERY, ENDPOINT, INBOUND, SOURCE, STORAGE, VERIFY};
use crate::config::{Changes, Listen};

const OTHER_WHSEC: &str = "whsec_c2Vjb25kLXNlY3JldC1mb3Itcm90YXRpb24tMDE=";

/// What a daemon with the first config makes of the second.
fn change(place: &Place, before: &str, after: &str) -> (Config, Changes) {
    place.parse(before).unwrap().renewed(place.parse(after).unwrap())
}

/// Another value for every key that an endpoint can have.
fn other_values() -> Vec<(&'static str, String)> {
    vec![
        ("url", "url = \"https://a.example.com/other\"".to_owned()),
        ("events", "events = [\"invoice.*\"]".to_owned()),
        ("secret", format!("secret = \"{OTHER_WHSEC}\"")),
        ("sign", "sign = { scheme = \"github\" }".to_owned()),
        ("format", "format = \"raw\"".to_owned()),
        ("headers", "headers = { x-tenant = \"acme\" }".to_owned()),
        ("permanent", "permanent = [400]".to_owned()),
        ("tls", "tls = { ca = \"ca.pem\" }".to_owned()),
        ("order", "order = \"key\"".to_owned()),
        ("on_dead", "order = \"key\"\non_dead = \"block\"".to_owned()),
        ("rate_limit", "rate_limit = \"10/s\"".to_owned()),
        ("breaker", "breaker = \"off\"".to_owned()),
        ("disable_after", "disable_after = \"1d\"".to_owned()),
        ("timeout", "timeout = \"1s\"".to_owned()),
        ("max_in_flight", "max_in_flight = 1".to_owned()),
        ("retry", "retry = [\"1s\"]".to_owned()),
        ("jitter", "jitter = 0.5".to_owned()),
        ("max_retry_after", "max_retry_after = \"1h\"".to_owned()),
        ("allow_networks", "allow_networks = [\"10.0.0.0/8\"]".to_owned()),
        ("log_response_bytes", "log_response_bytes = \"2KiB\"".to_owned()),
    ]
}

/// The endpoint `a` with these lines in the place of, or beside, what it has of itself.
fn endpoint_with(lines: &str) -> String {
    let usual = ["url = \"https://a.example.com/\"".to_owned(), format!("secret = \"{WHSEC}\"")];
    let key = |line: &str| line.split(' ').next().unwrap().to_owned();
    let usual = usual.iter().filter(|line| !lines.lines().any(|given| key(given) == key(line)));
    let usual: Vec<_> = usual.map(String::as_str).collect();
    format!("[endpoint.a]\n{}\n{lines}\n", usual.join("\n"))
}

#[test]
fn every_key_of_an_endpoint_makes_it_another_one() {
    let place = Place::new().with_pem();
    let others = other_values();
    for key in ENDPOINT.names.iter().chain(DELIVERY.names) {
        assert!(others.iter().any(|(known, _)| known == key), "{key} is tried nowhere");
    }
    for (key, lines) in others {
        let (before, after) = (endpoint_with(""), endpoint_with(&lines));
        let (_, changes) = change(&place, &before, &after);
        let names: Vec<_> = changes.changed.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["a"], "{key}: {changes:?}");
        assert!(changes.added.is_empty() && changes.removed.is_empty() && changes.settings.is_empty(), "{changes:?}");
        // And the same text again is no change.
        let (_, none) = change(&place, &after, &after);
        assert!(none.is_empty(), "{key}: {none:?}");
    }
}

#[test]
fn defaults_change_the_endpoints_that_take_them() {
    let own = "[endpoint.b]\nurl = \"https://b.example.com/\"\nsign = \"none\"\ntimeout = \"2s\"\n";
    let before = format!("{}{own}", endpoint(""));
    let (_, changes) = change(&Place::new(), &before, &format!("[delivery]\ntimeout = \"3s\"\n{before}"));
    let names: Vec<_> = changes.changed.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn endpoints_come_and_go() {
    let one = |name: &str| format!("[endpoint.{name}]\nurl = \"https://a.example.com/\"\nsign = \"none\"\n");
    let (config, changes) =
        change(&Place::new(), &(one("a") + &one("b") + &one("c")), &(one("b") + &one("d") + &one("e")));
    let names = |list: &[crate::model::text::EndpointName]| {
        list.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&changes.added), "d e");
    assert_eq!(names(&changes.removed), "a c");
    assert_eq!(names(&changes.changed), "");
    assert_eq!(config.endpoints.len(), 3);
}

#[test]
fn files_with_another_content_are_a_change() {
    let tls = "tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }";
    let text = format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = {{ file = \"secret\" }}\n{tls}\n");
    let place = Place::new().with_pem().file("secret", WHSEC);
    let before = place.parse(&text).unwrap();
    let (_, same) = before.renewed(place.parse(&text).unwrap());
    assert!(same.is_empty(), "{same:?}");
    let place = place.file("secret", OTHER_WHSEC);
    let (rotated, changes) = before.renewed(place.parse(&text).unwrap());
    assert_eq!(changes.changed.len(), 1, "{changes:?}");
    let place = place.with_pem();
    let (_, changes) = rotated.renewed(place.parse(&text).unwrap());
    assert_eq!(changes.changed.len(), 1, "{changes:?}");
}

#[test]
fn a_second_secret_is_a_change_where_it_signs() {
    for (scheme, signs) in [("standard", true), ("stripe", true), ("github", false)] {
        let with = |secrets: &str| {
            let sign = format!("sign = {{ scheme = \"{scheme}\" }}");
            format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = {secrets}\n{sign}\n")
        };
        let both = format!("[\"{WHSEC}\", \"{OTHER_WHSEC}\"]");
        let (_, changes) = change(&Place::new(), &with(&format!("\"{WHSEC}\"")), &with(&both));
        assert_eq!(!changes.is_empty(), signs, "{scheme}");
        let turned = format!("[\"{OTHER_WHSEC}\", \"{WHSEC}\"]");
        let (_, changes) = change(&Place::new(), &with(&both), &with(&turned));
        assert!(!changes.is_empty(), "{scheme}: another one signs first");
    }
}

#[test]
fn listener_and_folder_keep_their_old_value() {
    let before = "[api]\nlisten = \"127.0.0.1:1000\"\n[storage]\ndir = \"/a\"\nretention = \"1d\"\n";
    let after = "[api]\nlisten = \"unix:/b.sock\"\nmax_body = \"2MiB\"\nmax_connections = 10\nmax_connections_per_address = 5\n\
        hosts = [\"a.example\"]\n\
        [storage]\ndir = \"/b\"\nretention = \"2d\"\nmax_size = \"1GiB\"\nmin_free = \"1GiB\"\ndurability = \"interval\"\n";
    let place = Place::new();
    let (config, changes) = change(&place, before, after);
    assert_eq!(changes.needs_restart, ["api.listen", "storage.dir"]);
    let settings = [
        "api.max_body",
        "api.max_connections",
        "api.max_connections_per_address",
        "api.hosts",
        "storage.retention",
        "storage.max_size",
        "storage.min_free",
        "storage.durability",
    ];
    assert_eq!(changes.settings, settings);
    for key in STORAGE.names {
        let named = |list: &[&str]| list.contains(&format!("storage.{key}").as_str());
        assert!(named(&changes.settings) || named(&changes.needs_restart), "{key}");
    }
    assert_eq!(config.api.listen, Listen::Tcp("127.0.0.1:1000".parse().unwrap()));
    assert_eq!(config.api.body_bytes_max, 2 << 20);
    assert_eq!((config.api.connections_max, config.api.connections_per_address_max), (10, 5));
    assert_eq!(config.storage.dir, Path::new("/a"));
    assert_eq!(config.storage.retention_ms, 2 * 24 * 3600 * 1000);
    // It is told again each time, for it is still so.
    let (_, again) = config.renewed(place.parse(after).unwrap());
    assert_eq!((again.settings.len(), again.needs_restart.len()), (0, 2));
}

#[test]
fn tokens_are_compared_by_name_scope_and_value() {
    let token = |name: &str, value: &str, scope: &str| {
        format!("[api]\ntoken.{name} = {{ secret = \"{value}\", scope = \"{scope}\" }}\n")
    };
    let before = token("app", "0123456789abcdef", "send");
    for after in [
        token("app", "0123456789abcdeF", "send"),
        token("app", "0123456789abcdef", "read"),
        token("ops", "0123456789abcdef", "send"),
        String::new(),
    ] {
        let (config, changes) = change(&Place::new(), &before, &after);
        assert_eq!(changes.settings, ["api.token"], "{after}");
        assert_eq!(config.api.tokens.len(), usize::from(!after.is_empty()));
    }
    assert!(change(&Place::new(), &before, &before).1.is_empty());
}

#[test]
fn a_listener_that_others_reach_is_never_left_without_a_token() {
    let before = "[api]\nlisten = \"0.0.0.0:8400\"\ntoken.app = { secret = \"0123456789abcdef\", scope = \"send\" }\n";
    let (config, changes) = change(&Place::new(), before, "[api]\nlisten = \"127.0.0.1:8400\"\n");
    assert_eq!(changes.needs_restart, ["api.listen", "api.token"]);
    assert_eq!(config.api.tokens.len(), 1);
    assert!(changes.settings.is_empty());
}

#[test]
fn connections_are_kept_where_nothing_about_them_changed() {
    let place = Place::new().with_pem();
    let parse = |lines: &str| place.parse(&endpoint_with(lines)).unwrap();
    let usual = parse("");
    let usual = &usual.endpoints["a"];
    for (key, lines) in other_values() {
        let changed = parse(&lines);
        let kept = usual.connects_like(&changed.endpoints["a"]);
        assert_eq!(kept, !["tls", "max_in_flight", "allow_networks"].contains(&key), "{key}");
    }
    let elsewhere = parse("url = \"https://b.example.com/\"");
    assert!(!usual.connects_like(&elsewhere.endpoints["a"]));
}

/// Another value for every key that a source can have, and for each option of its scheme.
fn other_values_of_a_source() -> Vec<(&'static str, &'static str)> {
    vec![
        ("verify", "verify = \"none\""),
        ("scheme", "verify = { scheme = \"token\", secret = [\"one\", \"two\"], header = \"x-s\" }"),
        ("secret", "verify = { S, secret = [\"one\", \"three\"] }"),
        ("secret", "verify = { S, secret = \"one\" }"),
        (
            "header",
            "verify = { scheme = \"hmac\", secret = [\"one\", \"two\"], header = \"x-t\", content = \"{timestamp}.{id}.{body}\" }",
        ),
        ("algorithm", "verify = { S, secret = [\"one\", \"two\"], algorithm = \"sha1\" }"),
        ("encoding", "verify = { S, secret = [\"one\", \"two\"], encoding = \"base64\" }"),
        ("prefix", "verify = { S, secret = [\"one\", \"two\"], prefix = \"v1=\" }"),
        (
            "content",
            "verify = { scheme = \"hmac\", secret = [\"one\", \"two\"], header = \"x-s\", content = \"{id}{body}\" }",
        ),
        ("timestamp_header", "verify = { S, secret = [\"one\", \"two\"], timestamp_header = \"x-time\" }"),
        ("id_header", "verify = { S, secret = [\"one\", \"two\"], id_header = \"x-id\" }"),
        ("tolerance", "verify = { S, secret = [\"one\", \"two\"], tolerance = \"1m\" }"),
        ("username", "verify = { scheme = \"basic\", secret = [\"one\", \"two\"], username = \"me\" }"),
        ("event_type", "event_type = { json = \"/type\" }"),
        ("dedup", "dedup = [{ json = \"/id\" }]"),
        ("key", "key = { form = \"key\" }"),
        ("allow_networks", "allow_networks = [\"10.0.0.0/8\"]"),
        ("trusted_proxies", "trusted_proxies = [\"unix\"]"),
        ("respond", "respond = { status = 202 }"),
        ("respond", "respond = { body = \"ok\" }"),
        ("respond", "respond = { content_type = \"text/xml\" }"),
        ("rate_limit", "rate_limit = \"10/s\""),
        ("verify_token", "verify_token = \"t\""),
    ]
}

/// The source `a` with these lines in the place of, or beside, what it has of itself.
fn source_with(lines: &str) -> String {
    let scheme = "scheme = \"hmac\", header = \"x-s\"";
    let content = ", content = \"{timestamp}.{id}.{body}\"";
    let usual = format!("verify = {{ S, secret = [\"one\", \"two\"] }}\n{lines}");
    let lines = if lines.starts_with("verify =") { lines } else { &usual };
    format!("[source.a]\n{}\n", lines.replace("S,", &format!("{scheme}{content},")))
}

#[test]
fn every_key_of_a_source_makes_it_another_one() {
    let others = other_values_of_a_source();
    for key in SOURCE.names.iter().chain(VERIFY.names).filter(|key| **key != "public_url") {
        assert!(others.iter().any(|(known, _)| known == key), "{key} is tried nowhere");
    }
    let place = Place::new();
    let differ = |before: &str, after: &str| {
        let (_, changes) = change(&place, before, after);
        let names: Vec<_> = changes.sources.changed.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["a"], "{after}: {changes:?}");
        assert!(changes.sources.added.is_empty() && changes.sources.removed.is_empty(), "{changes:?}");
        assert!(changes.settings.is_empty() && changes.needs_restart.is_empty(), "{changes:?}");
        assert!(changes.touch("source.a.verify") && !changes.touch("source.b"), "{changes:?}");
        // And the same text again is no change.
        let (_, none) = change(&place, after, after);
        assert!(none.is_empty(), "{after}: {none:?}");
    };
    for (_, lines) in others {
        differ(&source_with(""), &source_with(lines));
    }
    let twilio = |lines: &str| format!("[source.a]\nverify = {{ scheme = \"twilio\", secret = \"x\" }}\n{lines}\n");
    differ(&twilio(""), &twilio("public_url = \"https://hooks.example.com/in/a\""));
    let token = |token: &str| source_with(&format!("verify_token = \"{token}\""));
    differ(&token("one"), &token("two"));
}

#[test]
fn sources_come_and_go_where_something_listens() {
    let one = |name: &str| format!("[source.{name}]\nverify = \"none\"\n");
    let (config, changes) = change(&Place::new(), &(one("a") + &one("b")), &(one("b") + &one("c")));
    let names = |list: &[crate::model::text::SourceName]| {
        list.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((names(&changes.sources.added), names(&changes.sources.removed)), ("c".to_owned(), "a".to_owned()));
    assert!(changes.sources.changed.is_empty() && changes.needs_restart.is_empty(), "{changes:?}");
    assert_eq!(config.sources.len(), 2);
    // The listener stays when all have gone, and takes the next one.
    let (config, changes) = config.renewed(parse("").unwrap());
    assert_eq!((changes.sources.removed.len(), changes.needs_restart.len()), (2, 0));
    assert!(config.inbound.is_some());
    let (_, changes) = config.renewed_while(parse(&one("d")).unwrap(), true);
    assert_eq!((changes.sources.added.len(), changes.needs_restart.len()), (1, 0));
}

#[test]
fn the_first_source_waits_for_a_restart_where_nothing_listens() {
    let place = Place::new();
    let source = "[source.a]\nverify = \"none\"\n";
    let after = format!("[inbound]\nmax_body = \"2MiB\"\n{source}");
    let (config, changes) = change(&place, "", &after);
    assert_eq!(
        (changes.needs_restart.as_slice(), changes.settings.as_slice()),
        (&["inbound"][..], &["inbound.max_body"][..])
    );
    assert_eq!(config.inbound.as_ref().unwrap().body_bytes_max, 2 << 20);
    // It is told again each time, for it is still so.
    let (_, again) = config.renewed_while(place.parse(&after).unwrap(), false);
    assert_eq!(again.needs_restart, ["inbound"]);
    // A socket that systemd handed over is listened on without a source.
    let (_, handed) = place.parse("").unwrap().renewed_while(place.parse(source).unwrap(), true);
    assert!(handed.needs_restart.is_empty() && handed.settings.is_empty(), "{handed:?}");
    assert_eq!(handed.sources.added.len(), 1);
}

#[test]
fn the_listener_of_inbound_keeps_what_makes_it() {
    let place = Place::new().with_server_pem();
    let source = "[source.a]\nverify = \"none\"\n";
    let before = format!("[inbound]\nlisten = \"127.0.0.1:1000\"\n{source}");
    let tls = "tls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let after = format!(
        "[inbound]\nlisten = \"unix:/b.sock\"\nmax_body = \"2MiB\"\nmax_connections = 10\nmax_connections_per_address = 5\n\
         proxy_protocol = [\"unix\"]\n{source}"
    );
    let (config, changes) = change(&place, &before, &after);
    assert_eq!(changes.needs_restart, ["inbound.listen"]);
    let settings = [
        "inbound.max_body",
        "inbound.max_connections",
        "inbound.max_connections_per_address",
        "inbound.proxy_protocol",
    ];
    assert_eq!(changes.settings, settings);
    let (turned_on, with_tls) = change(&place, &before, &before.replace("[source.a]", &format!("{tls}[source.a]")));
    assert_eq!((with_tls.needs_restart.as_slice(), with_tls.settings.len()), (&["inbound.tls"][..], 0));
    assert!(turned_on.inbound.unwrap().tls.is_none());
    for key in INBOUND.names {
        let key = format!("inbound.{key}");
        let told = [&changes, &with_tls]
            .into_iter()
            .any(|changes| changes.settings.contains(&key.as_str()) || changes.needs_restart.contains(&key.as_str()));
        assert!(told, "{key}");
    }
    let inbound = config.inbound.unwrap();
    assert_eq!(inbound.listen, Listen::Tcp("127.0.0.1:1000".parse().unwrap()));
    assert!(inbound.proxy_protocol.unix);
    assert_eq!(
        (inbound.body_bytes_max, inbound.connections_max, inbound.connections_per_address_max),
        (2 << 20, 10, 5)
    );
    // Another certificate counts at once.
    let text = before.replace("[source.a]", &format!("{tls}[source.a]"));
    let now = place.parse(&text).unwrap();
    let place = place.with_server_pem();
    let (renewed, changes) = now.renewed(place.parse(&text).unwrap());
    assert_eq!((changes.settings.as_slice(), changes.needs_restart.len()), (&["inbound.tls"][..], 0));
    assert!(!renewed.inbound.unwrap().tls.unwrap().is_like(now.inbound.unwrap().tls.as_ref().unwrap()));
}
