//! `[inbound]` and `[source.*]`: what is taken, what is refused, what is worth a warning.

use super::super::{Listen, Pick, Proxies, RateLimit, Source, Verification};
use super::refused::one_fault;
use super::*;
use crate::limits;
use crate::signature::SchemeKind;

/// One source with these lines, at line 3 and on.
fn source(lines: &str) -> String {
    format!("[source.a]\nverify = {{ scheme = \"github\", secret = \"It's a Secret to Everybody\" }}\n{lines}\n")
}

fn only_source(config: &Config) -> &Source {
    assert_eq!(config.sources.len(), 1);
    config.sources.values().next().unwrap()
}

fn read(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// Places as a reader of the config would write them.
fn shown(places: &[Pick]) -> String {
    let one = |place: &Pick| match place {
        Pick::Header(name) => format!("header {name}"),
        Pick::Json(pointer) => format!("json {pointer}"),
        Pick::Form(field) => format!("form {field}"),
    };
    places.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_source_takes_the_defaults_of_the_contract_and_brings_a_listener() {
    let config = read(&source(""));
    let inbound = config.inbound.as_ref().unwrap();
    assert_eq!(inbound.listen, Listen::Tcp("127.0.0.1:8401".parse().unwrap()));
    assert_eq!((inbound.body_bytes_max, inbound.connections_max), (limits::MIB, 16_384));
    assert!(inbound.proxy_protocol.is_empty() && inbound.tls.is_none());
    let source = only_source(&config);
    assert_eq!((source.name.as_str(), source.verify.kind()), ("a", Some(SchemeKind::Github)));
    assert_eq!(
        (shown(&source.event_type), shown(&source.dedup)),
        ("header x-github-event".into(), "header x-github-delivery".into())
    );
    assert!(source.key.is_empty() && source.allow_networks.is_empty() && source.trusted_proxies.is_empty());
    assert_eq!((source.respond.status.as_u16(), source.respond.body.len()), (200, 0));
    assert_eq!((source.respond.content_type.as_ref(), source.rate_limit), (None, None));
    assert!(source.public_url.is_none() && source.verify_token.is_none());
    assert!(config.warnings.iter().all(|warning| warning.contains("[endpoint.NAME]")), "{:?}", config.warnings);
}

#[test]
fn every_scheme_knows_where_its_vendor_puts_type_and_id() {
    let slack = "json /event/type, json /type, form command";
    for (scheme, options, event_type, dedup) in [
        ("standard", "", "json /type", "header webhook-id, header svix-id"),
        ("github", "", "header x-github-event", "header x-github-delivery"),
        ("stripe", "", "json /type", "json /id"),
        (
            "shopify",
            "",
            "header x-shopify-topic, header shopify-topic",
            "header x-shopify-webhook-id, header shopify-webhook-id",
        ),
        ("slack", "", slack, "json /event_id"),
        ("twilio", "", "", "header i-twilio-idempotency-token"),
        ("gitlab", "", "json /object_kind, json /event_name", "header x-gitlab-event-uuid"),
        ("zendesk", "", "json /type", ""),
        ("hmac", ", header = \"x-sig\"", "", ""),
        ("token", "", "", ""),
        ("basic", ", username = \"me\"", "", ""),
    ] {
        let verify = format!("verify = {{ scheme = \"{scheme}\", secret = \"{WHSEC}\"{options} }}");
        let config = read(&format!("[source.a]\n{verify}\n"));
        let source = only_source(&config);
        assert_eq!(
            (shown(&source.event_type), shown(&source.dedup)),
            (event_type.to_owned(), dedup.to_owned()),
            "{scheme}"
        );
        // What the config says stands in its place, also where it says nothing at all.
        let config = read(&format!("[source.a]\n{verify}\nevent_type = []\ndedup = {{ json = \"/mine\" }}\n"));
        let source = only_source(&config);
        assert_eq!((shown(&source.event_type), shown(&source.dedup)), (String::new(), "json /mine".into()), "{scheme}");
    }
}

#[test]
fn every_key_of_a_source_arrives() {
    let place = Place::new().file("hub", "hub-token\n");
    let config = place
        .parse(
            r#"
            [source.shop-1]
            verify = { scheme = "hmac", secret = ["one", "two"], header = "X-Sig", content = "{timestamp}.{body}", tolerance = "10m" }
            event_type = [{ header = "X-Event" }, { json = "/a~1b/0" }, { form = "kind of" }]
            dedup = { form = "id" }
            key = { json = "/customer" }
            allow_networks = ["10.1.0.0/16", "::ffff:192.168.0.7"]
            trusted_proxies = ["::1", "unix"]
            respond = { status = 202, content_type = "application/json; charset=utf-8", body = '{"ok":true}' }
            rate_limit = "100/s"
            verify_token = { file = "hub" }
            "#,
        )
        .unwrap();
    let source = only_source(&config);
    let Verification::Schemes(schemes) = &source.verify else { panic!("{:?}", source.verify) };
    assert_eq!((schemes.len(), schemes[0].kind()), (2, SchemeKind::Hmac));
    assert_eq!(shown(&source.event_type), "header x-event, json /a~1b/0, form kind of");
    assert_eq!((shown(&source.dedup), shown(&source.key)), ("form id".into(), "json /customer".into()));
    let address = |text: &str| Some(text.parse().unwrap());
    for (from, admitted) in [
        (address("10.1.2.3"), true),
        (address("::ffff:10.1.2.3"), true),
        (address("192.168.0.7"), true),
        (address("192.168.0.8"), false),
        (address("::1"), false),
        (None, false),
    ] {
        assert_eq!(source.admits(from), admitted, "{from:?}");
    }
    assert_eq!(source.trusted_proxies, Proxies { networks: vec!["::1/128".parse().unwrap()], unix: true });
    let respond = &source.respond;
    assert_eq!((respond.status.as_u16(), &respond.body[..]), (202, &b"{\"ok\":true}"[..]));
    assert_eq!(respond.content_type.as_ref().unwrap(), "application/json; charset=utf-8");
    assert_eq!(source.rate_limit, Some(RateLimit { count: 100, per_ms: 1000, burst: 100 }));
    assert_eq!(source.verify_token.as_ref().unwrap().expose(), b"hub-token");
}

#[test]
fn every_key_of_inbound_arrives() {
    let text = "[inbound]\nlisten = \"[::1]:9\"\nmax_body = \"2MiB\"\nmax_connections = 10\nmax_connections_per_address = 5\n\
                proxy_protocol = [\"10.0.0.0/8\", \"unix\"]\n";
    let inbound = read(text).inbound.unwrap();
    assert_eq!(inbound.listen, Listen::Tcp("[::1]:9".parse().unwrap()));
    assert_eq!((inbound.body_bytes_max, inbound.connections_max), (2 << 20, 10));
    assert_eq!(inbound.connections_per_address_max, 5);
    assert_eq!(inbound.proxy_protocol, Proxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: true });
    assert!(read("").inbound.is_none());
}

#[test]
fn a_burst_is_what_the_rate_allows_in_a_second() {
    let rate = |text: &str| only_source(&read(&source(&format!("rate_limit = {text}")))).rate_limit.unwrap().burst;
    assert_eq!(rate("\"100/s\""), 100);
    assert_eq!(rate("\"600/m\""), 10);
    assert_eq!(rate("\"10/h\""), 1);
    assert_eq!(rate("{ rate = \"10/h\", burst = 7 }"), 7);
}

#[test]
fn a_public_key_verifies_and_unverified_can_be_said_both_ways() {
    let pair = crate::signature::standard::KeyPair::generate().unwrap();
    let config = read(&format!("[source.a]\nverify = {{ scheme = \"standard\", secret = \"{}\" }}\n", pair.public));
    assert_eq!(only_source(&config).verify.kind(), Some(SchemeKind::Standard));
    for verify in ["\"none\"", "{ scheme = \"none\" }"] {
        let config = read(&format!("[source.a]\nverify = {verify}\n"));
        assert!(matches!(only_source(&config).verify, Verification::Unverified), "{verify}");
        assert!(only_source(&config).event_type.is_empty());
    }
}

#[test]
fn a_url_is_taken_as_it_is_written() {
    let url = |text: &str| {
        let text = format!("[source.a]\nverify = {{ scheme = \"twilio\", secret = \"x\" }}\npublic_url = {text:?}\n");
        only_source(&read(&text)).public_url.as_ref().unwrap().to_string()
    };
    assert_eq!(url("https://hooks.example.com/in/twilio"), "https://hooks.example.com/in/twilio");
    assert_eq!(url("http://hooks.example.com:8080/a%20b"), "http://hooks.example.com:8080/a%20b");
    // Both are tried for a signature.
    assert_eq!(url("https://hooks.example.com:443/in/twilio"), "https://hooks.example.com/in/twilio");
}

#[test]
fn ten_mistakes_of_a_source_are_told_in_one_run() {
    let text = r#"[inbound]
proxy_protocol = ["10.1.2.3/8"]

[source.webhookd]
verify = { scheme = "github" }

[source."a.b"]
verify = { scheme = "githb", secret = { env = "NOT_SET" }, tolerance = "5" }
event_type = { json = "type" }
dedup = { header = "x y", json = "" }
key = [{}]
respond = { status = 302 }
trusted_proxies = ["nginx"]
rate_limit = "fast"
public_url = "ftp://hooks.example.com/"
verify_token = ""
secret = "hidden"
"#;
    let expected = [
        "2:19: inbound.proxy_protocol[0]: ",
        "4:9: source.webhookd: the name webhookd is taken",
        "5:1: source.webhookd.verify.secret: missing, and the scheme github needs it",
        "7:9: source.\"a.b\": the source's name has the character '.'",
        "8:21: source.\"a.b\".verify.scheme: expected ",
        "8:47: source.\"a.b\".verify.secret.env: the environment variable NOT_SET is not set",
        "8:72: source.\"a.b\".verify.tolerance: ",
        "9:23: source.\"a.b\".event_type.json: the JSON pointer \"type\" must begin with a slash",
        "10:1: source.\"a.b\".dedup: expected one place",
        "10:20: source.\"a.b\".dedup.header: \"x y\" is no header name",
        "10:34: source.\"a.b\".dedup.json: the empty pointer",
        "11:8: source.\"a.b\".key[0]: expected one place",
        "12:22: source.\"a.b\".respond.status: expected a whole number from 200 to 299",
        "13:20: source.\"a.b\".trusted_proxies[0]: expected a network such as",
        "14:14: source.\"a.b\".rate_limit: expected a rate",
        "15:14: source.\"a.b\".public_url: expected a URL that starts with https://",
        "16:16: source.\"a.b\".verify_token: the secret is empty",
        "17:1: source.\"a.b\".secret: unknown key; secret belongs in [source.*.verify]",
    ];
    let faults = faults(text);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start), "{start}\n{fault}");
    }
}

#[test]
fn verification_is_checked() {
    let refused = |verify: &str, start: &str, words: &str| {
        one_fault(&format!("[source.a]\nverify = {verify}\n"), start, words);
    };
    one_fault("[source.a]\n", "1:9: source.a.verify: ", "missing; write verify = { scheme = ");
    refused("\"github\"", "2:10: source.a.verify: ", "write verify = { scheme = \"github\", secret = ");
    refused("\"nonne\"", "2:10: source.a.verify: ", "or \"none\"");
    refused("{}", "2:1: source.a.verify.scheme: ", "missing");
    refused("{ scheme = \"stripe\" }", "2:1: source.a.verify.secret: ", "the scheme stripe needs it");
    refused("{ scheme = \"none\", secret = \"x\" }", "2:38: source.a.verify.secret: ", "would guard nothing");
    refused("{ scheme = \"none\", header = \"x\" }", "2:38: source.a.verify.header: ", "no use for `header`");
    refused("{ scheme = \"hmac\", secret = \"x\" }", "2:1: source.a.verify.header: ", "needs `header`");
    refused(
        "{ scheme = \"github\", secret = \"x\", header = \"x-s\" }",
        "2:54: source.a.verify.header: ",
        "no use for",
    );
    refused("{ scheme = \"basic\", secret = \"x\" }", "2:1: source.a.verify.username: ", "give `username`");
    refused(
        "{ scheme = \"standard\", secret = [\"whsec_AAAA\"] }",
        "2:43: source.a.verify.secret[0]: ",
        "the secret has 3 bytes",
    );
    let hmac = "scheme = \"hmac\", secret = \"x\", header = \"x-s\"";
    for (tolerance, words) in [
        ("\"1500ms\"", "whole seconds"),
        ("\"0s\"", "from 1s to 1d"),
        ("\"25h\"", "from 1s to 1d"),
        ("300", "for example \"300s\""),
    ] {
        refused(
            &format!("{{ {hmac}, content = \"{{timestamp}}{{body}}\", tolerance = {tolerance} }}"),
            "2:102: source.a.verify.tolerance: ",
            words,
        );
    }
    refused(&format!("{{ {hmac}, tolerance = \"5m\" }}"), "2:71: source.a.verify.tolerance: ", "{timestamp}");
}

#[test]
fn places_are_checked() {
    let refused = |line: &str, start: &str, words: &str| one_fault(&source(line), start, words);
    refused("event_type = \"x-github-event\"", "3:14: source.a.event_type: ", "{ header = \"x-event\" }");
    refused("event_type = { heder = \"x\" }", "3:16: source.a.event_type.heder: ", "did you mean header?");
    refused("event_type = [{}]", "3:15: source.a.event_type[0]: ", "found none of these keys");
    refused("dedup = [{ json = \"/a~\" }]", "3:19: source.a.dedup[0].json: ", "neither ~0");
    refused("dedup = [{ json = \"/a\", form = \"b\" }]", "3:10: source.a.dedup[0]: ", "found several");
    refused("key = { form = \"\" }", "3:16: source.a.key.form: ", "the name of a form's field");
    refused("key = { header = 1 }", "3:18: source.a.key.header: ", "found the number 1");
    let many = ["{ json = \"/a\" }"; limits::PICKS_MAX + 1].join(", ");
    refused(&format!("key = [{many}]"), "3:7: source.a.key: ", "has 9 entries, at most 8");
    let long = "a".repeat(limits::PICK_BYTES_MAX);
    refused(&format!("key = {{ json = \"/{long}\" }}"), "3:16: source.a.key.json: ", "257 bytes, at most 256");
    // What carries a secret would become an event's type, or a key in the log.
    for header in ["Authorization", "cookie", "proxy-authorization"] {
        refused(&format!("key = {{ header = {header:?} }}"), "3:18: source.a.key.header: ", "carries a secret");
    }
    let token = "[source.a]\nverify = { scheme = \"token\", secret = \"x\", header = \"X-Api-Key\" }\n";
    one_fault(
        &format!("{token}dedup = {{ header = \"x-api-key\" }}\n"),
        "3:20: source.a.dedup.header: ",
        "carries a secret",
    );
    let gitlab = "[source.a]\nverify = { scheme = \"gitlab\", secret = \"x\" }\n";
    one_fault(
        &format!("{gitlab}key = [{{ header = \"x-gitlab-token\" }}]\n"),
        "3:19: source.a.key[0].header: ",
        "a secret",
    );
}

#[test]
fn answers_are_checked() {
    let refused = |respond: &str, start: &str, words: &str| {
        one_fault(&source(&format!("respond = {{ {respond} }}")), start, words);
    };
    refused("status = 199", "3:22: source.a.respond.status: ", "from 200 to 299, found the number 199");
    refused("status = 300", "3:22: source.a.respond.status: ", "from 200 to 299");
    refused("status = \"200\"", "3:22: source.a.respond.status: ", "a whole number");
    refused("status = 204, body = \"x\"", "3:34: source.a.respond.body: ", "status 204 has no body");
    refused("status = 205, content_type = \"a/b\"", "3:42: source.a.respond.content_type: ", "status 205 has no body");
    let long = "x".repeat(limits::RESPOND_BODY_BYTES_MAX + 1);
    refused(&format!("body = \"{long}\""), "3:20: source.a.respond.body: ", "4097 bytes, at most 4096");
    for content_type in ["", "json", "a/", "/b", "a b/c", "a/b\\nc", "text/größe", "a/ ;x"] {
        let words = "a content type such as";
        refused(&format!("content_type = \"{content_type}\""), "3:28: source.a.respond.content_type: ", words);
    }
    read(&source("respond = { status = 204, body = \"\" }"));
    read(&source(&format!("respond = {{ body = \"{}\" }}", &long[1..])));
    read(&source("respond = { content_type = \"text/xml\" }"));
}

#[test]
fn the_url_of_twilio_is_checked() {
    let refused = |url: &str, words: &str| {
        let twilio = "[source.a]\nverify = { scheme = \"twilio\", secret = \"x\" }\n";
        one_fault(&format!("{twilio}public_url = {url:?}\n"), "3:14: source.a.public_url: ", words);
    };
    refused("hooks.example.com/in/a", "expected a URL");
    refused("ftp://hooks.example.com/", "another scheme");
    refused("https://me@hooks.example.com/", "user name");
    refused("https://:pw@hooks.example.com/", "user name");
    refused("https://hooks.example.com/#a", "fragment");
    refused("https://hooks.example.com/?a=b", "query");
    for other in
        ["https://Hooks.example.com/", "https://hooks.example.com", "https://h.example/a b", "https://h.example/ä"]
    {
        refused(other, "could be written in another way");
    }
    refused(&format!("https://h.example/{}", "x".repeat(limits::URL_BYTES_MAX)), "at most 4096");
    one_fault(
        &source("public_url = \"https://hooks.example.com/in/a\""),
        "3:14: source.a.public_url: ",
        "has no effect with the scheme github",
    );
    one_fault(
        "[source.a]\nverify = \"none\"\npublic_url = \"https://hooks.example.com/in/a\"\n",
        "3:14: source.a.public_url: ",
        "has no effect with the scheme none",
    );
}

#[test]
fn names_are_checked_and_case_makes_two() {
    one_fault(
        &source("").replace("source.a", "source.webhookd"),
        "1:9: source.webhookd: ",
        "webhookd.* are the events",
    );
    let two = source("") + &source("").replace("source.a", "source.A");
    assert_eq!(read(&two).sources.len(), 2);
    one_fault("[[source]]\nverify = \"none\"\n", "1:1: source: ", "tables such as [source.github]");
    let many: String = (0..=limits::SOURCES_MAX).map(|n| format!("[source.s{n}]\n")).collect();
    one_fault(&many, "1:2: source: ", "has 1025 sources, at most 1024");
}

#[test]
fn the_listener_of_sources_needs_an_address_of_its_own() {
    let taken = "[api]\nlisten = \"127.0.0.1:8401\"\n";
    one_fault(&format!("{taken}{}", source("")), "3:2: source: ", "where [api] listens");
    one_fault(&format!("{taken}[inbound]\n{}", source("")), "3:2: inbound: ", "[api] listens at this address");
    one_fault("[inbound]\nmax_connections = 0\n", "2:19: inbound.max_connections: ", "from 1 to 1000000");
    one_fault("[inbound]\nproxy_protocol = \"unix\"\n", "2:18: inbound.proxy_protocol: ", "a list of networks");
}

/// The warnings of a config that has an endpoint.
fn warnings(text: &str) -> Vec<String> {
    read(&format!("{text}\n[endpoint.e]\nurl = \"https://e.example.com/\"\nsign = \"none\"\n")).warnings
}

#[test]
fn a_source_that_anybody_may_post_to_is_worth_a_warning() {
    let open = warnings("[source.a]\nverify = \"none\"\n");
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(
        open[0].starts_with("webhookd.toml:2: source.a.verify: nothing is verified: whoever reaches [inbound]"),
        "{open:?}"
    );
    let few = warnings("[source.a]\nverify = { scheme = \"none\" }\nallow_networks = [\"10.0.0.0/8\"]\n");
    assert!(few.len() == 1 && few[0].contains("whoever posts from one of the allow_networks"), "{few:?}");
}

#[test]
fn a_secret_that_travels_in_the_clear_is_worth_a_warning() {
    let place = Place::new().with_server_pem();
    for (scheme, options, sends) in [
        ("token", "", true),
        ("gitlab", "", true),
        ("basic", ", username = \"me\"", true),
        ("github", "", false),
        ("standard", "", false),
    ] {
        let source = format!("[source.a]\nverify = {{ scheme = \"{scheme}\", secret = \"{WHSEC}\"{options} }}\n");
        for (inbound, public) in [
            ("[inbound]\nlisten = \"0.0.0.0:8401\"\n", true),
            ("[inbound]\nlisten = \"0.0.0.0:8401\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n", false),
            ("[inbound]\nlisten = \"unix:/in.sock\"\n", false),
            ("", false),
        ] {
            let warnings = place.parse(&format!("{inbound}{source}")).unwrap().warnings;
            let told =
                warnings.iter().any(|warning| warning.contains("source.a.verify: other machines reach [inbound]"));
            assert_eq!(told, sends && public, "{scheme} {inbound} {warnings:?}");
        }
    }
}

#[test]
fn a_listener_for_nobody_is_worth_a_warning() {
    let told = warnings("[inbound]\n");
    assert!(told.len() == 1 && told[0].starts_with("webhookd.toml:1: inbound: no source posts to it"), "{told:?}");
    assert!(warnings(&format!("[inbound]\n{}", source(""))).is_empty());
    assert!(warnings("").is_empty());
}

#[test]
fn the_summary_names_each_source_and_how_it_is_verified() {
    let text = format!(
        "[inbound]\nlisten = \"0.0.0.0:8401\"\n[source.open]\nverify = \"none\"\n[source.few]\nverify = \"none\"\n\
         allow_networks = [\"10.0.0.0/8\"]\n[source.two]\nverify = {{ scheme = \"stripe\", secret = [\"a\", \"b\"] }}\n{}",
        source("")
    );
    let summary = read(&text).summary();
    let expected = "takes webhooks of others on http://0.0.0.0:8401\n  \
        a: POST /in/a, verified by github with 1 secret\n  \
        few: POST /in/few, NOT VERIFIED: anybody of its allow_networks may post\n  \
        open: POST /in/open, NOT VERIFIED: anybody may post\n  \
        two: POST /in/two, verified by stripe with 2 secrets\nstores in ";
    assert!(summary.contains(expected), "{summary}");
    assert!(!read("").summary().contains("webhooks of others"));
}
