//! `webhookd.toml.example` against the reader.
//!
//! In the file, prose starts with `# ` and a setting that is left out with `#` and its key, so that a test can put each
//! of them in.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use toml::{Table, Value};

use super::super::keys;
use super::*;

const SHIPPED: &str = include_str!("../../../webhookd.toml.example");

/// The example with its endpoint and its sources put in, as the first thing that a user does.
static EXAMPLE: LazyLock<String> = LazyLock::new(|| {
    let mut text = SHIPPED.to_owned();
    for line in [
        "[inbound]",
        "[endpoint.billing]",
        "url = ",
        "events = [\"invoice",
        "secret = { file",
        "[source.github]",
        "verify = { scheme = \"github\", secret = {",
        "[source.twilio]",
        "verify = { scheme = \"twilio\"",
    ] {
        let left_out = format!("\n#{line}");
        assert_eq!(text.matches(&left_out).count(), 1, "{line}");
        text = text.replace(&left_out, &format!("\n{line}"));
    }
    text
});

/// A folder in which every file, variable and credential of the example exists.
fn place() -> Place {
    let place = Place::new()
        .with_pem()
        .with_server_pem()
        .file("billing.secret", WHSEC)
        .file("billing-old.secret", WHSEC)
        .file("app.token", "app-0123456789abcdef\n")
        .file("github.secret", "It's a Secret to Everybody\n")
        .file("github-old.secret", "another one")
        .file("twilio.token", "0123456789abcdef0123456789abcdef")
        .file("billing", WHSEC)
        .file("ops-token", "ops-0123456789abcdef")
        .variable("BILLING_SECRET", WHSEC)
        .variable("WEBHOOKD_DASHBOARD_TOKEN", "dashboard-0123456789abcdef");
    let credentials = place.path().to_str().unwrap().to_owned();
    place.variable("CREDENTIALS_DIRECTORY", &credentials)
}

/// The setting of a line, if it is one that is left out.
fn left_out(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|setting| setting.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The key of a line that sets one.
fn key_of(line: &str) -> Option<&str> {
    line.split_once('=').map(|(key, _)| key.trim()).filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The example with the setting of line `chosen` put in, instead of any other that its table has for the same key.
fn with_line(chosen: usize) -> String {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let setting = left_out(lines[chosen]).unwrap();
    let table_of = |n: usize| lines[..n].iter().rposition(|line| line.starts_with('['));
    let kept = lines.iter().enumerate().map(|(n, line)| {
        if n == chosen {
            setting
        } else if table_of(n) == table_of(chosen) && key_of(line) == key_of(setting) {
            ""
        } else {
            *line
        }
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The example with every setting put in; where a key has several, the first.
fn with_all() -> String {
    let mut seen = BTreeSet::new();
    let mut table = "";
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            table = line;
        }
        let line = left_out(line).unwrap_or(line);
        if key_of(line).is_none_or(|key| seen.insert((table, key))) {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

fn commented_lines() -> Vec<usize> {
    let lines = EXAMPLE.lines().enumerate();
    lines.filter(|(_, line)| left_out(line).is_some()).map(|(n, _)| n).collect()
}

#[test]
fn the_example_is_a_config_as_it_is_shipped() {
    let config = Place::new().parse(SHIPPED).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.endpoints.is_empty() && config.sources.is_empty() && config.inbound.is_none());
    assert_eq!(config.warnings.len(), 1, "only that there is no endpoint: {:?}", config.warnings);
}

#[test]
fn the_example_is_a_config_with_its_endpoint_and_sources() {
    let config = place().parse(&EXAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.endpoints.len(), config.sources.len()), (1, 2));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_setting_of_the_example_can_be_put_in() {
    let place = place();
    place.parse(&with_all()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(commented_lines().len() > 40);
    for n in commented_lines() {
        place.parse(&with_line(n)).unwrap_or_else(|errors| panic!("line {}: {errors}", n + 1));
    }
}

#[test]
fn the_example_names_every_key_and_no_other() {
    let mut named = BTreeSet::new();
    for text in commented_lines().into_iter().map(with_line).chain([EXAMPLE.clone()]) {
        collect(&text.parse::<Table>().unwrap(), "", &mut named);
    }
    let known: BTreeSet<String> =
        keys::ALL.iter().flat_map(|table| table.names.iter().map(|name| table.place(name))).collect();
    assert_eq!(named, known);
}

/// The keys of a table and of those in it, as `keys` writes them.
fn collect(table: &Table, at: &str, named: &mut BTreeSet<String>) {
    for (key, value) in table {
        let names_of_the_user = matches!(at, "endpoint" | "source" | "api.token");
        let place = match at {
            "" => key.clone(),
            _ if names_of_the_user => format!("{at}.*"),
            _ => format!("{at}.{key}"),
        };
        if !names_of_the_user {
            named.insert(place.clone());
        }
        // These are the same wherever they stand.
        let place = match place.as_str() {
            _ if place.ends_with(".secret") => "endpoint.*.secret".to_owned(),
            "source.*.verify_token" => "endpoint.*.secret".to_owned(),
            "source.*.dedup" | "source.*.key" => "source.*.event_type".to_owned(),
            "source.*.rate_limit" => "endpoint.*.rate_limit".to_owned(),
            _ => place,
        };
        match value {
            _ if place == "endpoint.*.headers" => {}
            Value::Table(inner) => collect(inner, &place, named),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_table).for_each(|inner| collect(inner, &place, named));
            }
            _ => {}
        }
    }
}

/// Deleting a line that shows a default changes nothing: each default in the example is the one that the reader has.
#[test]
fn the_values_shown_are_the_defaults() {
    let place = place();
    // The endpoint's own lines stay; only lines that name a default are tried.
    let examples = [
        "token.",
        "#hosts",
        "#min_free",
        "#listen = \"unix",
        "#events",
        "#secret",
        "#headers = { \"x",
        "#permanent = [4",
        "#tls",
        "#order = \"k",
        "#order = \"s",
        "#rate_limit",
        "#breaker = \"off",
        "#disable_after = \"off",
        "#format = \"r",
        "#format = \"c",
        "#allow_networks = [\"",
        "#proxy_protocol = [\"",
        "#verify",
        "#event_type = [",
        "#dedup = { json",
        "#dedup = [",
        "#key = {",
        "#trusted_proxies = [\"",
        "#respond = { status = 202",
        "#public_url",
    ];
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let without = format!("{:?}", place.parse(&EXAMPLE).unwrap());
    let mut tried = 0;
    for n in commented_lines() {
        let example =
            examples.iter().any(|start| lines[n].trim_start_matches('#').starts_with(start.trim_start_matches('#')));
        let other_scheme = lines[n].starts_with("#sign") && !lines[n].contains("\"standard\"");
        if !example && !other_scheme {
            tried += 1;
            assert_eq!(format!("{:?}", place.parse(&with_line(n)).unwrap()), without, "line {}", n + 1);
        }
    }
    assert!(tried >= 33, "{tried}");
}
