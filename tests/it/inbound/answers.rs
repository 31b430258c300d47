//! What a third party is answered.

use super::{events, github, refused};
use crate::kit::{Reply, Setup};

/// The problem's word.
#[track_caller]
fn word(reply: &Reply, status: u16) -> String {
    let problem = reply.problem(status);
    problem["type"].as_str().unwrap().strip_prefix("urn:webhookd:problem:").unwrap().to_owned()
}

#[test]
fn only_sources_are_there_and_no_path_tells_which() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    let paths = ["/", "/in", "/in/", "/in/other", "/in/github/", "/in/GitHub", "/v1/events", "/metrics", "/healthz"];
    for path in paths {
        for method in ["GET", "POST", "OPTIONS"] {
            let reply = daemon.inbound().send(method, path, &[], "{}");
            assert_eq!(word(&reply, 404), "not-found", "{method} {path}");
            assert!(!reply.text().contains("github"), "{}", reply.text());
        }
    }
    assert_eq!(refused(&daemon, "", "not-found"), 3 * paths.len() as u64);
    assert_eq!(super::metric(&daemon, "webhookd_inbound_accepted_total{source=\"github\"}"), 0);
    assert!(!daemon.client().get("/metrics").text().contains("webhookd_requests_refused_total{"));
}

#[test]
fn methods_that_a_source_does_not_have_are_refused_with_those_that_it_has() {
    let daemon = Setup::new()
        .source("github", github::SOURCE)
        .source("meta", &format!("{}\nverify_token = \"agreed-on\"", github::SOURCE))
        .start();
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let reply = daemon.inbound().send(method, "/in/github", &[], "");
        assert_eq!(word(&reply, 405), "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("POST, OPTIONS"), "{method}");
    }
    let reply = daemon.inbound().send("PUT", "/in/meta", &[], "");
    assert_eq!((word(&reply, 405).as_str(), reply.header("allow")), ("method-not-allowed", Some("GET, POST, OPTIONS")));
    assert_eq!(refused(&daemon, "github", "method-not-allowed"), 4);
}

#[test]
fn why_a_signature_is_refused_is_in_the_log_and_a_metric_and_not_in_the_answer() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    let body = b"{\"marker\":\"body-of-a-forger\"}".as_slice();
    let forged = format!("sha256={}", "0a".repeat(32));
    let twice = [("x-hub-signature-256", forged.as_str()), ("x-hub-signature-256", forged.as_str())];
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("missing_header", &[]),
        ("duplicate_header", &twice),
        ("malformed_header", &[("x-hub-signature-256", "sha256=forged")]),
        ("mismatch", &twice[..1]),
    ];
    let mut answers = Vec::new();
    for (reason, headers) in cases {
        let reply = daemon.inbound().send("POST", "/in/github", headers, body);
        assert_eq!(word(&reply, 401), "signature-refused");
        answers.push(reply.text());
        assert_eq!(refused(&daemon, "github", reason), 1, "{reason}");
        let log = daemon.log();
        let line =
            log.lines().find(|line| line.contains(reason)).unwrap_or_else(|| panic!("no line tells {reason}: {log}"));
        assert!(line.contains(" WARN ") && line.contains("github") && line.contains("127.0.0.1"), "{line}");
        assert!(!line.contains("body-of-a-forger") && !line.contains("0a0a"), "{line}");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");
    assert!(events(&daemon).is_empty());
}

#[test]
fn a_stale_request_gets_the_same_answer_as_a_forged_one() {
    let daemon = Setup::new().source("slack", "verify = { scheme = \"slack\", secret = \"s\" }").start();
    let signature = format!("v0={}", "0a".repeat(32));
    let stale = [("x-slack-signature", signature.as_str()), ("x-slack-request-timestamp", "1600000000")];
    let reply = daemon.inbound().send("POST", "/in/slack", &stale, "{}");
    assert_eq!(word(&reply, 401), "signature-refused");
    let forged = daemon.inbound().send("POST", "/in/slack", &[], "{}");
    assert_eq!(forged.body, reply.body);
    assert_eq!((refused(&daemon, "slack", "stale"), refused(&daemon, "slack", "missing_header")), (1, 1));
}

#[test]
fn a_body_past_the_limit_of_inbound_is_refused_whether_it_is_signed_or_not() {
    let daemon = Setup::new().inbound("max_body = \"1KiB\"").source("github", github::SOURCE).start();
    let (fits, large) = (vec![b'x'; 1024], vec![b'x'; 1025]);
    github::post(&daemon, &[], &fits).expect(200);
    assert_eq!(word(&github::post(&daemon, &[], &large), 413), "body-too-large");
    assert_eq!(word(&daemon.inbound().send("POST", "/in/github", &[], large), 413), "body-too-large");
    assert_eq!(refused(&daemon, "github", "body-too-large"), 2);
    assert_eq!(events(&daemon).len(), 1);
}

#[test]
fn a_large_body_without_a_signature_is_refused() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    let reply = daemon.inbound().send("POST", "/in/github", &[], vec![b'x'; 500_000]);
    assert_eq!(word(&reply, 401), "signature-refused");
    assert_eq!(refused(&daemon, "github", "missing_header"), 1);
    github::post(&daemon, &[], &vec![b'x'; 500_000]).expect(200);
}

#[test]
fn a_compressed_body_is_refused() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    let reply = github::post(&daemon, &[("content-encoding", "gzip")], b"\x1f\x8b");
    assert_eq!(word(&reply, 415), "unsupported-encoding");
    assert_eq!(refused(&daemon, "github", "unsupported-encoding"), 1);
}

#[test]
fn a_third_party_gets_what_is_configured_for_it() {
    let answering = |name: &str| format!("verify = {{ scheme = \"none\" }}\nrespond = {name}");
    let daemon = Setup::new()
        .source("plain", "verify = { scheme = \"none\" }")
        .source("empty", &answering("{ status = 204 }"))
        .source("text", &answering("{ body = \"ok\\n\" }"))
        .source("xml", &answering("{ status = 202, body = \"<Response/>\", content_type = \"text/xml\" }"))
        .start();
    for (source, status, content_type, body) in [
        ("plain", 200, None, ""),
        ("empty", 204, None, ""),
        ("text", 200, Some("text/plain; charset=utf-8"), "ok\n"),
        ("xml", 202, Some("text/xml"), "<Response/>"),
    ] {
        // The second is a repeat of nothing: without an id each is an event.
        for _ in 0..2 {
            let reply = daemon.inbound().send("POST", &format!("/in/{source}"), &[], "{}").expect(status);
            assert_eq!((reply.header("content-type"), reply.text().as_str()), (content_type, body), "{source}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        }
    }
    assert_eq!(events(&daemon).len(), 8);
}

#[test]
fn what_is_taken_is_counted_and_timed() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    for n in 0..3 {
        github::post(&daemon, &[("x-github-delivery", &format!("d{}", n / 2))], b"{}").expect(200);
    }
    let counted = |name: &str| super::metric(&daemon, &format!("webhookd_inbound_{name}{{source=\"github\"}}"));
    assert_eq!((counted("accepted_total"), counted("duplicates_total")), (2, 1));
    assert_eq!(counted("ack_seconds_count"), 3);
    assert_eq!(super::metric(&daemon, "webhookd_events_accepted_total{via=\"inbound\"}"), 2);
}

#[test]
fn a_flood_of_refusals_is_a_few_lines_and_a_number() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    for _ in 0..200 {
        daemon.inbound().send("POST", "/in/github", &[], "{}").problem(401);
    }
    assert_eq!(refused(&daemon, "github", "missing_header"), 200);
    let count = |line: &str| line.split("count=").nth(1)?.split_whitespace().next()?.parse::<usize>().ok();
    crate::kit::eventually("each is told, alone or as a number", || {
        let log = daemon.log();
        let alone = log.lines().filter(|line| line.contains("an inbound request was refused")).count();
        let summed: usize = log.lines().filter(|line| line.contains("more than are told")).filter_map(count).sum();
        assert!(alone < 200, "all of them were told one by one");
        (alone + summed == 200).then_some(())
    });
}
