//! What is refused, where, and in which words.

use super::super::keys;
use super::*;
use crate::limits;

/// Each config has one fault, told at this place and with these words.
pub(super) fn one_fault(text: &str, start: &str, words: &str) {
    one_fault_at(&Place::new(), text, start, words);
}

fn one_fault_at(place: &Place, text: &str, start: &str, words: &str) {
    let faults = faults_at(place, text);
    assert_eq!(faults.len(), 1, "{text}\n{faults:#?}");
    assert!(faults[0].starts_with(start), "{start}\n{}", faults[0]);
    assert!(faults[0].contains(words), "{words}\n{}", faults[0]);
}

#[test]
fn ten_mistakes_are_told_in_one_run_each_with_its_line() {
    let text = r#"[api]
listen = "0.0.0.0:8400"
max_body = 1048576

[storage]
retenion = "7d"
durability = "sometimes"

[delivery]
timeout = "15 s"
jitter = 2

[endpoint.billing]
url = "https://user:pw@billing.example.com/"
sign = { scheme = "stanard" }
retry = ["5s", "90"]
permanent = [404, 200]

[endpoint.audit]
secret = { env = "AUDIT_SECRET" }
url = "https://audit.example.com"

[source.github]
"#;
    let expected = [
        "2:10: api.listen: ",
        "3:12: api.max_body: ",
        "6:1: storage.retenion: unknown key; did you mean retention?",
        "7:14: storage.durability: expected \"fsync\" or \"interval\", found \"sometimes\"",
        "10:11: delivery.timeout: ",
        "11:10: delivery.jitter: expected a number from 0 to 1, found the number 2",
        "14:7: endpoint.billing.url: ",
        "15:19: endpoint.billing.sign.scheme: ",
        "16:16: endpoint.billing.retry[1]: ",
        "17:19: endpoint.billing.permanent[1]: 200 is a success",
        "20:18: endpoint.audit.secret.env: the environment variable AUDIT_SECRET is not set",
        "23:9: source.github.verify: missing; write verify = ",
    ];
    let faults = faults(text);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start), "{start}\n{fault}");
    }
}

/// Every key in `keys` is read: a date, which fits nowhere, is refused at each.
#[test]
fn every_known_key_is_read() {
    for table in keys::ALL {
        for name in table.names {
            let place = table.place(name);
            let text = match table.at {
                "endpoint.*.sign" if *name != "scheme" => {
                    format!("[endpoint.x.sign]\nscheme = \"hmac\"\n{name} = 1979-05-27\n")
                }
                "endpoint.*.tls" => format!("[endpoint.x.tls]\n{name} = 1979-05-27\n"),
                "" => format!("{name} = 1979-05-27\n"),
                at => format!("[{}]\n{name} = 1979-05-27\n", at.replace('*', "x")),
            };
            let path = place.replace('*', "x");
            let errors = parse(&text).unwrap_err();
            let found = errors.errors().iter().any(|e| e.key == path && e.message.contains("found a date"));
            assert!(found, "{path}: {errors}");
        }
    }
}

/// No value of any key makes the reader panic, and what it refuses has a line and words on one line.
#[test]
fn any_value_of_any_key_is_answered() {
    let values = [
        "\"\"",
        "\"\\u0000\"",
        "\"x\"",
        "\"ü/\\n\"",
        "0",
        "-1",
        "0xffffffffffffffffffffff",
        "1e999",
        "nan",
        "true",
        "07:32:00",
        "[]",
        "[[]]",
        "[{}]",
        "{}",
        "{ x = 1 }",
        "{ secret = {} }",
        "{ \"\" = [] }",
        "{ file = \"\\u0000\" }",
        "\"unix:\\u0000\"",
        "\"https://\\u0000\"",
        "\"18446744073709551615d\"",
        "\"0/s\"",
    ];
    for (table, name) in keys::ALL.iter().flat_map(|table| table.names.iter().map(move |name| (table, name))) {
        for value in values {
            let place = format!("{}{}{name}", table.at.replace('*', "x"), if table.at.is_empty() { "" } else { "." });
            let Err(errors) = parse(&format!("{place} = {value}\n")) else { continue };
            assert!(errors.errors().iter().all(|e| e.line == 1 && e.column > 0), "{place} = {value}: {errors}");
            assert_eq!(errors.to_string().lines().count(), errors.errors().len(), "{place} = {value}: {errors}");
        }
    }
}

#[test]
fn syntax_errors_have_their_line() {
    one_fault("[api]\nlisten = \n", "2:", "not TOML");
    one_fault("[api]\n\n[api]\n", "3:2: not TOML", "duplicate key");
    let two = faults("[api\nlisten = \"x\"\n\n[storage]\ndir = = 1\n");
    assert!(two.len() >= 2 && two[0].starts_with("1:") && two.last().unwrap().starts_with("5:"), "{two:#?}");
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(parse(&deep).is_err(), "nesting is bounded");
}

#[test]
fn columns_count_characters() {
    one_fault("[storage] # größer\n\"dürability\" = 1\n", "2:1: storage.\"dürability\": ", "did you mean durability?");
    one_fault("delivery = { \"jitter\" = 0.1, timeout = 3 }\n", "1:40: delivery.timeout: ", "without a unit");
}

#[test]
fn quantities_need_their_unit_and_bounds() {
    one_fault("[delivery]\ntimeout = 15\n", "2:11: delivery.timeout: ", "for example \"15s\"");
    one_fault("[api]\nmax_body = \"64KB\"\n", "2:12: api.max_body: ", "write KiB");
    one_fault("[delivery]\ntimeout = \"0ms\"\n", "2:11: ", "expected from 1ms to 5m, found \"0ms\"");
    one_fault("[delivery]\ntimeout = \"301s\"\n", "2:11: ", "expected from 1ms to 5m");
    one_fault("[delivery]\nmax_in_flight = 0\n", "2:17: ", "a whole number from 1 to 1024, found the number 0");
    one_fault("[delivery]\nmax_in_flight = 1025\n", "2:17: ", "a whole number from 1 to 1024");
    one_fault("[delivery]\nmax_in_flight = -1\n", "2:17: ", "found the number -1");
    one_fault("[delivery]\nmax_in_flight = 2.5\n", "2:17: ", "found the number 2.5");
    one_fault("[delivery]\nlog_response_bytes = \"9KiB\"\n", "2:22: ", "from 0B to 8KiB");
    one_fault("[delivery]\nmax_retry_after = \"31d\"\n", "2:19: ", "from 0s to 30d");
    one_fault("[delivery]\nretry = [\"0s\"]\n", "2:10: delivery.retry[0]: ", "from 1ms to 30d");
    one_fault("[delivery]\nretry = \"5s\"\n", "2:9: delivery.retry: ", "a list of waits");
    one_fault(&format!("[delivery]\nretry = [{}]\n", "\"1s\",".repeat(101)), "2:9: ", "has 101 entries, at most 100");
    for jitter in ["-0.1", "1.1", "nan", "inf", "\"0.1\"", "0x1"] {
        one_fault(&format!("[delivery]\njitter = {jitter}\n"), "2:10: delivery.jitter: ", "a number from 0 to 1");
    }
    one_fault("[storage]\nretention = \"999ms\"\n", "2:13: ", "from 1s to 3650d");
    one_fault("[storage]\nmax_size = \"127MiB\"\n", "2:12: ", "at least 128MiB");
    one_fault("[api]\nmax_body = \"65MiB\"\n", "2:12: ", "from 1KiB to 64MiB");
    for key in ["max_connections", "max_connections_per_address"] {
        let column = key.len() + 4;
        one_fault(&format!("[api]\n{key} = 0\n"), &format!("2:{column}: api.{key}: "), "from 1 to 1000000");
        one_fault(&format!("[api]\n{key} = 1000001\n"), &format!("2:{column}: api.{key}: "), "from 1 to 1000000");
    }
    one_fault("[storage]\ndir = \"\"\n", "2:7: storage.dir: ", "the path of the data folder");
}

#[test]
fn listeners_that_cannot_be_are_refused() {
    let refused =
        |listen: &str, words: &str| one_fault(&format!("[api]\nlisten = {listen:?}\n"), "2:10: api.listen: ", words);
    refused("127.0.0.1", "the port is missing");
    refused("::1", "the port is missing");
    refused("example.com:8400", "write the IP address");
    refused("/run/webhookd.sock", "is written \"unix:/path\"");
    refused("unix:", "expected an address");
    refused("127.0.0.1:99999", "expected an address");
    refused(&format!("unix:/{}", "x".repeat(limits::UNIX_PATH_BYTES_MAX)), "108 bytes, at most 107");
    refused("0.0.0.0:8400", "without a token");
    refused("[::]:8400", "without a token");
    refused("192.168.1.1:8400", "token.NAME = ");
    let twice = "[api]\nlisten = \"127.0.0.1:1\"\n[inbound]\nlisten = \"127.0.0.1:1\"\n";
    one_fault(twice, "4:10: inbound.listen: ", "[api] listens at this address");
    one_fault("[api]\nlisten = \"127.0.0.1:8401\"\n[inbound]\n", "3:2: inbound: ", "[api] listens at this address");
    one_fault("[inbound]\nlisten = \"example.com:1\"\n", "2:10: inbound.listen: ", "write the IP address");
}

#[test]
fn tokens_that_cannot_be_are_refused() {
    let good = "{ secret = \"0123456789abcdef\", scope = \"send\" }";
    one_fault(
        "[api]\ntoken.a = { secret = \"0123456789abcde\", scope = \"send\" }\n",
        "2:22: api.token.a.secret: ",
        "15 bytes, at least 16",
    );
    one_fault(
        "[api]\ntoken.a = { secret = \"0123456789 abcdef\", scope = \"send\" }\n",
        "2:22: ",
        "no Authorization header can carry",
    );
    one_fault(
        "[api]\ntoken.a = { secret = \"0123456789abcdef\", scope = \"write\" }\n",
        "2:50: api.token.a.scope: ",
        "\"send\", \"read\" or \"admin\"",
    );
    one_fault("[api]\ntoken.a = { secret = \"0123456789abcdef\" }\n", "2:7: api.token.a.scope: ", "missing");
    one_fault("[api]\ntoken.a = { scope = \"send\" }\n", "2:7: api.token.a.secret: ", "missing");
    one_fault(
        &format!("[api]\ntoken.\"a b\" = {good}\n"),
        "2:7: api.token.\"a b\": ",
        "the token's name has the character ' '",
    );
    one_fault(
        &format!("[api]\ntoken.a = {good}\ntoken.b = {good}\n"),
        "3:22: api.token.b.secret: ",
        "same value as the token a",
    );
    one_fault("[api]\ntoken = \"0123456789abcdef\"\n", "2:9: api.token: ", "a table of tokens");
    let many: String = (0..=limits::TOKENS_MAX).map(|n| format!("token.t{n} = {good}\n")).collect();
    one_fault(&format!("[api]\n{many}"), "2:1: api.token: ", "has 65 tokens, at most 64");
}

#[test]
fn endpoints_need_a_name_and_a_url() {
    one_fault(
        &endpoint("").replace("endpoint.a", "endpoint.\"a.b\""),
        "1:11: endpoint.\"a.b\": ",
        "the endpoint's name has the character '.'",
    );
    one_fault("[endpoint.a]\nsign = \"none\"\n", "1:11: endpoint.a.url: ", "missing");
    one_fault(
        "[[endpoint]]\nurl = \"https://a.example.com\"\n",
        "1:1: endpoint: ",
        "tables such as [endpoint.billing]",
    );
    one_fault("endpoint.a = \"https://a.example.com\"\n", "1:14: endpoint.a: ", "found a string");
    let refused = |url: &str, words: &str| {
        one_fault(&format!("[endpoint.a]\nsign = \"none\"\nurl = {url:?}\n"), "3:7: endpoint.a.url: ", words);
    };
    refused("billing.example.com/hooks", "expected a URL");
    refused("ftp://a.example.com/", "another scheme");
    refused("https://", "expected a URL");
    refused("mailto:a@example.com", "another scheme");
    refused("https://user@a.example.com/", "scheme = \"basic\"");
    refused("https://:pw@a.example.com/", "scheme = \"basic\"");
    refused("https://a.example.com/#top", "fragment");
    refused("https://a.example.com:0/", "port 0");
    refused("https://a.example.com:99999/", "expected a URL");
    // What the URL parser takes for a host, and an HTTP client does not.
    refused("https://a.ex`mple.com/", "no HTTP request can be sent");
    refused(&format!("https://a.example.com/{}", "x".repeat(limits::URL_BYTES_MAX)), "at most 4096");
}

#[test]
fn values_of_an_endpoint_are_checked() {
    let refused = |line: &str, start: &str, words: &str| one_fault(&endpoint(line), start, words);
    refused("events = \"invoice.*\"", "4:10: endpoint.a.events: ", "a list of types");
    refused("events = [\"a\", \"b c\"]", "4:16: endpoint.a.events[1]: ", "the pattern has the character ' '");
    refused("events = [\"\"]", "4:11: endpoint.a.events[0]: ", "the pattern is empty");
    refused("format = \"xml\"", "4:10: endpoint.a.format: ", "\"standard\", \"raw\" or \"cloudevents\", found \"xml\"");
    refused("order = \"fifo\"", "4:9: endpoint.a.order: ", "\"none\", \"key\" or \"strict\"");
    for rate in ["\"100\"", "\"100/d\"", "\"0/s\"", "100", "\"1000001/s\""] {
        refused(&format!("rate_limit = {rate}"), "4:14: endpoint.a.rate_limit: ", "a rate");
    }
    refused("breaker = \"on\"", "4:11: endpoint.a.breaker: ", "or a table such as { failures = 20");
    refused("breaker = { failures = 0 }", "4:24: endpoint.a.breaker.failures: ", "from 1 to 10000");
    refused("breaker = { cooldown = 30 }", "4:24: endpoint.a.breaker.cooldown: ", "for example \"30s\"");
    refused("breaker = { after = 30 }", "4:13: endpoint.a.breaker.after: ", "known here: failures, cooldown");
    refused(
        "breaker = { max_cooldown = \"1s\" }",
        "4:1: endpoint.a.breaker.max_cooldown: ",
        "is shorter than the cooldown",
    );
    refused("rate_limit = { burst = 3 }", "4:1: endpoint.a.rate_limit.rate: ", "missing; write rate = \"100/s\"");
    refused("rate_limit = { rate = \"1/s\", burst = 0 }", "4:38: endpoint.a.rate_limit.burst: ", "from 1 to 1000000");
    refused("on_dead = \"block\"", "4:11: endpoint.a.on_dead: ", "it needs order = \"key\" or \"strict\"");
    refused("disable_after = \"never\"", "4:17: endpoint.a.disable_after: ", "a duration");
    refused("permanent = [200]", "4:14: endpoint.a.permanent[0]: ", "a success");
    refused("permanent = [302]", "4:14: endpoint.a.permanent[0]: ", "a redirect");
    refused("permanent = [600]", "4:14: endpoint.a.permanent[0]: ", "from 400 to 599, found 600");
    refused("permanent = [\"400\"]", "4:14: endpoint.a.permanent[0]: ", "a whole number");
    refused("allow_networks = [\"10.1.2.3/8\"]", "4:19: endpoint.a.allow_networks[0]: ", "write \"10.0.0.0/8\"");
    refused("allow_networks = [\"10.1\"]", "4:19: endpoint.a.allow_networks[0]: ", "a network such as");
    refused("allow_networks = [\"example.com\"]", "4:19: endpoint.a.allow_networks[0]: ", "a network such as");
    refused("tmeout = \"1s\"", "4:1: endpoint.a.tmeout: ", "did you mean timeout?");
    refused("listen = \"1s\"", "4:1: endpoint.a.listen: ", "listen belongs in [api]");
}

#[test]
fn headers_that_webhookd_sets_itself_are_refused() {
    for (header, words) in [
        ("Content-Type", "webhookd sets this header itself"),
        ("content-length", "webhookd sets this header itself"),
        ("HOST", "it follows from the url"),
        ("user-agent", "webhookd sets this header itself"),
        ("traceparent", "webhookd sets this header itself"),
        ("webhook-id", "names that start with webhook-"),
        ("Webhook-Anything", "names that start with webhook-"),
        ("transfer-encoding", "about the connection"),
        ("connection", "about the connection"),
        ("a b", "not a header name"),
        ("", "not a header name"),
    ] {
        one_fault(&endpoint(&format!("headers = {{ {header:?} = \"x\" }}")), "4:", words);
    }
    one_fault(&endpoint("headers = { x-a = \"1\", X-A = \"2\" }"), "4:", "given twice");
    one_fault(
        &endpoint("headers = { x-a = 1 }"),
        "4:19: endpoint.a.headers.x-a: ",
        "expected a string, found a number",
    );
    for value in ["a\\nb", "a\\u0000", "größe"] {
        one_fault(&endpoint(&format!("headers = {{ x-a = \"{value}\" }}")), "4:19: ", "no header can carry");
    }
    let many: String = (0..=limits::ENDPOINT_HEADERS_MAX).map(|n| format!("x-{n} = \"\", ")).collect();
    one_fault(&endpoint(&format!("headers = {{ {many} }}")), "4:1: endpoint.a.headers: ", "has 65 headers, at most 64");
}

#[test]
fn signing_is_checked() {
    let unsigned = "[endpoint.a]\nurl = \"https://a.example.com/\"\n";
    one_fault(unsigned, "1:11: endpoint.a.secret: ", "or sign = \"none\"");
    one_fault(
        &format!("{unsigned}sign = {{ scheme = \"github\" }}\n"),
        "1:11: endpoint.a.secret: ",
        "the scheme github needs it",
    );
    one_fault(&endpoint("sign = \"github\""), "4:8: endpoint.a.sign: ", "write sign = { scheme = \"github\" }");
    one_fault(&endpoint("sign = \"nonne\""), "4:8: endpoint.a.sign: ", "or \"none\"");
    one_fault(&endpoint("sign = {}"), "4:1: endpoint.a.sign.scheme: ", "missing");
    one_fault(&endpoint("sign = { scheme = \"hmac\" }"), "4:1: endpoint.a.sign.header: ", "needs `header`");
    one_fault(
        &endpoint("sign = { scheme = \"hmac\", header = \"x-s\", algorithm = \"md5\" }"),
        "4:55: endpoint.a.sign.algorithm: ",
        "sha1, sha256 or sha512",
    );
    one_fault(
        &endpoint("sign = { scheme = \"github\", prefix = \"x\" }"),
        "4:38: endpoint.a.sign.prefix: ",
        "no use for `prefix`",
    );
    one_fault(&endpoint("sign = { scheme = \"basic\" }"), "4:1: endpoint.a.sign.username: ", "give `username`");
    one_fault(
        &endpoint("sign = { scheme = \"standard\", secret = \"x\" }"),
        "4:31: endpoint.a.sign.secret: ",
        "secret belongs in",
    );
    one_fault(
        &endpoint("headers = { authorization = \"x\" }\nsign = { scheme = \"token\" }"),
        "4:1: endpoint.a.headers: ",
        "writes the header authorization itself",
    );
    let bad_secret = "[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = [\"whsec_AAAA\", \"abc\"]\n";
    let faults = faults(bad_secret);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("3:11: endpoint.a.secret[0]: the secret has 3 bytes"), "{}", faults[0]);
    assert!(
        faults[1].starts_with("3:25: endpoint.a.secret[1]: the secret starts with none of whsec_"),
        "{}",
        faults[1]
    );
}

#[test]
fn secrets_that_cannot_be_had_are_named() {
    let place = Place::new().file("empty", "\n").file("long", "x".repeat(limits::SECRET_BYTES_MAX + 1));
    std::fs::create_dir(place.path().join("folder")).unwrap();
    let refused = |secret: &str, start: &str, words: &str| {
        let text = format!("[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = {secret}\n");
        one_fault_at(&place, &text, start, words);
    };
    refused("{ file = \"missing\" }", "3:19: endpoint.a.secret.file: ", "missing cannot be read: No such file");
    refused("{ file = \"folder\" }", "3:19: endpoint.a.secret.file: ", "folder cannot be read");
    refused("{ file = \"empty\" }", "3:1: endpoint.a.secret: ", "the secret is empty");
    refused("{ file = \"long\" }", "3:1: endpoint.a.secret: ", "more than 4096 bytes");
    refused("{ env = \"NOT_SET\" }", "3:18: endpoint.a.secret.env: ", "NOT_SET is not set");
    refused(
        "{ credential = \"hook\" }",
        "3:25: endpoint.a.secret.credential: ",
        "hook cannot be looked up: $CREDENTIALS_DIRECTORY",
    );
    refused("{ credential = \"../hook\" }", "3:25: ", "found a path");
    refused("{ file = \"\" }", "3:19: ", "found an empty string");
    refused("{ file = 1 }", "3:19: ", "expected the path of a file");
    refused("{ file = \"empty\", env = \"X\" }", "3:1: endpoint.a.secret: ", "exactly one of file, env and credential");
    refused("{}", "3:1: endpoint.a.secret: ", "none of these keys");
    refused("\"\"", "3:10: endpoint.a.secret: ", "the secret is empty");
    refused("[]", "3:10: endpoint.a.secret: ", "give at least one");
    refused("12345678901234567890", "3:10: endpoint.a.secret: ", "found a number");
    refused(&format!("[{}]", "\"x\",".repeat(limits::SECRETS_MAX + 1)), "3:10: ", "has 9 entries, at most 8");
    let with_folder = Place::new().variable("CREDENTIALS_DIRECTORY", "/nonexistent");
    let text = "[endpoint.a]\nurl = \"https://a.example.com/\"\nsecret = { credential = \"hook\" }\n";
    one_fault_at(&with_folder, text, "3:25: endpoint.a.secret.credential: ", "/nonexistent/hook cannot be read");
}

#[test]
fn tls_files_are_checked_when_the_config_is_read() {
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    let place = Place::new()
        .with_pem()
        .file("other.key", other.signing_key.serialize_pem())
        .file("text", "hello")
        .file("broken", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let refused = |tls: &str, start: &str, words: &str| {
        one_fault_at(&place, &endpoint(&format!("tls = {{ {tls} }}")), start, words);
    };
    refused("cert = \"client.pem\"", "4:16: endpoint.a.tls.cert: ", "needs its private key");
    refused("key = \"client.key\"", "4:15: endpoint.a.tls.key: ", "needs its certificate");
    refused("", "4:1: endpoint.a.tls: ", "empty table");
    refused("ca = \"missing.pem\"", "4:14: endpoint.a.tls.ca: ", "cannot be read");
    refused("ca = \"text\"", "4:14: endpoint.a.tls.ca: ", "holds no certificate");
    refused("ca = \"broken\"", "4:14: endpoint.a.tls.ca: ", "not valid PEM");
    refused("cert = \"client.pem\", key = \"text\"", "4:36: endpoint.a.tls.key: ", "no usable private key");
    refused("cert = \"client.pem\", key = \"other.key\"", "4:36: endpoint.a.tls.key: ", "does not fit the certificate");
    refused("ca = \"client.pem\", crt = \"x\"", "4:28: endpoint.a.tls.crt: ", "did you mean cert?");
    let http = endpoint("tls = { ca = \"ca.pem\" }").replace("https:", "http:");
    one_fault_at(&place, &http, "4:1: endpoint.a.tls: ", "the url is http");
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let place = Place::new();
    let load = |name: &str| Config::load(&place.path().join(name), &|_| None).unwrap_err().to_string();
    let missing = load("missing.toml");
    assert!(missing.contains("missing.toml: the config file cannot be read: No such file"), "{missing}");
    assert_eq!(missing.lines().count(), 1);
    assert!(load("").contains("cannot be read"), "a folder is no config");
    std::fs::write(place.path().join("latin1.toml"), b"[api]\n# gr\xfc\xdfe\n").unwrap();
    assert!(load("latin1.toml").contains("not UTF-8 (line 2)"));
    std::fs::write(place.path().join("large.toml"), vec![b'\n'; limits::CONFIG_BYTES_MAX + 1]).unwrap();
    assert!(load("large.toml").contains("more than 8388608 bytes"));
}

#[test]
fn too_many_endpoints_are_refused() {
    let many: String = (0..=limits::ENDPOINTS_MAX).map(|n| format!("[endpoint.e{n}]\n")).collect();
    one_fault(&many, "1:2: endpoint: ", "has 4097 endpoints, at most 4096");
}
