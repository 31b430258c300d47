//! What strangers try: every vendor against a table of forgeries, and against odd requests that are good all the same.

mod cases;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use self::cases::{Verdict, cases};
pub(super) use self::request::Request;
use super::vendor::{Vendor, vendors};
use crate::kit::{Daemon, Reply, SOON, Setup};

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Sends a request as it is.
#[track_caller]
pub(super) fn post(daemon: &Daemon, request: &Request) -> Reply {
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    daemon.inbound().send("POST", &request.path, &headers, request.body.clone())
}

/// The same for a request that is made for the second in which it is judged: it is made anew where the second changed while
/// it was under way. What came of each try is told.
pub(super) fn post_within_a_second(
    daemon: &Daemon,
    make: impl Fn(u64) -> Request,
    mut told: impl FnMut(&Reply),
) -> (Reply, Request, u64) {
    loop {
        let before = now();
        let request = make(before);
        let reply = post(daemon, &request);
        told(&reply);
        if now() == before {
            return (reply, request, before);
        }
    }
}

/// A daemon with all of them as sources, each under these of its secrets. Repeats are stored, so that they can be counted.
fn daemon(vendors: &[Vendor], secrets: &[usize]) -> Daemon {
    let sources = |setup: Setup, vendor: &Vendor| {
        setup.source(vendor.name, &format!("{}\nevent_type = []\ndedup = []", vendor.source(secrets)))
    };
    vendors.iter().fold(Setup::new(), sources).start()
}

/// The value of each sample of a metric, by its labels as they are written.
pub(super) fn samples(metrics: &str, name: &str) -> BTreeMap<String, u64> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    lines.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).filter(|(_, value)| *value > 0).collect()
}

#[test]
fn every_forgery_is_refused_alike_and_nothing_of_it_is_kept() {
    let vendors = vendors();
    let daemon = daemon(&vendors, &[0]);
    let mut accepted = BTreeMap::<String, u64>::new();
    let mut refused = BTreeMap::<String, u64>::new();
    let mut answers = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for vendor in &vendors {
        let source = vendor.name;
        for case in cases(vendor, &vendors) {
            count += 1;
            let (reply, ..) = post_within_a_second(&daemon, &case.make, |reply| {
                let reason = match (reply.status, case.verdict) {
                    (200, _) => {
                        *accepted.entry(format!("source=\"{source}\"")).or_default() += 1;
                        return;
                    }
                    (_, Verdict::Refused(reason)) => reason,
                    // It was good for the very second in which it was made, and that was over when it was judged.
                    (_, Verdict::Accepted) => "stale",
                };
                *refused.entry(format!("reason=\"{reason}\",source=\"{source}\"")).or_default() += 1;
            });
            let expected = if case.verdict == Verdict::Accepted { 200 } else { 401 };
            if reply.status != expected {
                wrong.push(format!("{source}: {}: {} instead of {:?}", case.what, reply.status, case.verdict));
            }
            if reply.status == 401 {
                reply.problem(401);
                let mut headers = reply.headers.clone();
                headers.remove("date");
                answers.insert((format!("{headers:?}"), reply.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    // A forger learns nothing from an answer: there is one for all of them.
    assert_eq!(answers.len(), 1, "{answers:?}");

    let metrics = daemon.client().get("/metrics").expect(200).text();
    assert_eq!(samples(&metrics, "webhookd_inbound_accepted_total"), accepted);
    let (told, expected) = (samples(&metrics, "webhookd_inbound_refused_total"), refused);
    let differing: Vec<_> = told.iter().filter(|(labels, n)| expected.get(*labels) != Some(n)).collect();
    assert!(told == expected, "counted otherwise: {differing:?}\nexpected {expected:?}");
    let stored: u64 = accepted.values().sum();
    assert_eq!(listed(&daemon), stored, "what was refused left something behind, or what was accepted did not");

    let log = daemon.log();
    for secret in vendors.iter().flat_map(|vendor| &vendor.secrets) {
        assert!(!log.contains(secret.as_str()), "the log shows a secret");
    }
    println!("{count} requests to {} sources, {stored} accepted", vendors.len());
}

/// Events that are stored.
fn listed(daemon: &Daemon) -> u64 {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = daemon.client().get(&format!("/v1/events?limit=100{cursor}")).expect(200).json();
        count += page["events"].as_array().unwrap().len() as u64;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

#[test]
fn two_secrets_are_good_while_one_takes_the_place_of_the_other() {
    let vendors = vendors();
    let daemon = daemon(&vendors, &[1, 0]);
    for vendor in &vendors {
        for (secret, status) in [(0, 200), (1, 200), (2, 401)] {
            let reply = post(&daemon, &Request::signed(vendor, secret, now(), vendor.body.as_bytes()));
            assert_eq!(reply.status, status, "{} under secret {secret}: {}", vendor.name, reply.text());
        }
    }
    assert_eq!(listed(&daemon), 2 * vendors.len() as u64);
}

#[test]
fn the_names_of_headers_have_no_case_and_values_no_space_around_them() {
    let vendors = vendors();
    let daemon = daemon(&vendors, &[0]);
    for vendor in &vendors {
        let request = Request::good(vendor, now());
        for rename in [str::to_uppercase as fn(&str) -> String, str::to_lowercase] {
            let mut head = format!("POST {} HTTP/1.1\r\nhOST: hooks.example.com\r\n", request.path);
            for (name, value) in &request.headers {
                head.push_str(&format!("{}: \t {value} \t\r\n", rename(name)));
            }
            head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", request.body.len()));
            let mut stream = TcpStream::connect(daemon.inbound().address()).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(&[head.as_bytes(), &request.body].concat()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{}: {answer}", vendor.name);
        }
    }
}
