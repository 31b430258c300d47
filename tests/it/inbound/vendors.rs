//! The vendors' own libraries: what they sign is taken, what we sign they take, and of forgeries they think as we do.
//!
//! The packages are those of `tests/interop/`; see [`crate::interop`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::forgery::{Request, Verdict, cases, now, post};
use super::vendor::{Dedup, Header, MESSAGE_ID, PUBLIC, Vendor, vendors};
use crate::interop::{lines, script};
use crate::kit::{Received, Receiver, Setup, binary};

/// A library, and the script that knows it.
type Library = (&'static str, &'static str);

/// What there is for a vendor. Zendesk and GitLab publish none.
fn libraries(vendor: &Vendor) -> &'static [Library] {
    match vendor.name {
        "github" => &[("vendors.js", "octokit")],
        "stripe" => &[("vendors.js", "stripe"), ("vendors.py", "stripe")],
        "shopify" => &[("vendors.js", "shopify")],
        "shopify-events" => &[("vendors.js", "shopify-events")],
        "slack" | "slack-commands" => &[("vendors.py", "slack")],
        "twilio" | "twilio-json" => &[("vendors.py", "twilio")],
        "twilio-shared" => &[("vendors.py", "twilio-shared")],
        "standard" => &[("vendors.js", "standardwebhooks"), ("vendors.py", "standardwebhooks")],
        "svix" => &[("vendors.js", "svix")],
        _ => &[],
    }
}

/// What is asked of the libraries, so that each script runs once.
#[derive(Default)]
struct Asked {
    /// The script of each line, and the lines of each script.
    order: Vec<&'static str>,
    input: BTreeMap<&'static str, String>,
}

impl Asked {
    fn sign(&mut self, (script, library): Library, secret: &str, id: &str, url: &str, body: &[u8], at_secs: u64) {
        let line = json!({
            "act": "sign", "library": library, "secret": secret, "now": at_secs, "id": id, "url": url,
            "body_base64": STANDARD.encode(body),
        });
        self.push(script, &line);
    }

    fn judge(&mut self, library: Library, secret: &str, url: &str, headers: &[Header], body: &[u8], now_secs: u64) {
        let (script, library) = library;
        let line = json!({
            "act": "judge", "library": library, "secret": secret, "now": now_secs, "url": url, "headers": headers,
            "body_base64": STANDARD.encode(body),
        });
        self.push(script, &line);
    }

    fn push(&mut self, script: &'static str, line: &Value) {
        self.order.push(script);
        self.input.entry(script).or_default().push_str(&format!("{line}\n"));
    }

    /// What they say, in the order of the questions.
    #[track_caller]
    fn answers(self) -> Vec<Value> {
        let said = self.input.iter().map(|(name, input)| (*name, lines(&script(name, &[], input)).into_iter()));
        let mut said: BTreeMap<_, _> = said.collect();
        let mut next = |name| said.get_mut(name).and_then(Iterator::next);
        self.order.iter().map(|name| next(name).unwrap_or_else(|| panic!("{name} left a line unanswered"))).collect()
    }
}

fn pairs(answer: &Value) -> Vec<Header> {
    serde_json::from_value(answer["headers"].clone()).unwrap()
}

fn received_headers(request: &Received) -> Vec<Header> {
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    request.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// A vendor's request, and the library that has signed it.
struct Sent<'a> {
    vendor: &'a Vendor,
    library: Option<Library>,
    request: Request,
}

/// The vendor's headers and body of the nth event.
fn nth(vendor: &Vendor, n: usize) -> (Vec<Header>, String) {
    let mut headers: Vec<Header> = vendor.headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match vendor.dedup {
        Dedup::Header(name) => {
            let header = headers.iter_mut().find(|header| header.0 == name);
            header.into_iter().for_each(|header| header.1.push_str(&format!("-{n}")));
        }
        Dedup::Body(text) => return (headers, vendor.body.replace(text, &format!("{text}{n}"))),
        Dedup::None => {}
    }
    (headers, vendor.body.to_owned())
}

/// Headers that are the connection's business, or that ours take the place of.
const NOT_KEPT: [&str; 1] = ["authorization"];

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn what_each_library_signs_is_kept_once_and_verifies_in_the_app_too() {
    let vendors = vendors();
    let app = Receiver::start();
    let mut setup = Setup::new();
    for vendor in &vendors {
        let url = app.url(&format!("/{}", vendor.name));
        let lines = format!("url = \"{url}\"\nsign = \"none\"\nformat = \"raw\"\nevents = [\"{}.*\"]", vendor.name);
        setup = setup.endpoint_alone(vendor.name, &lines);
        setup = setup.source(vendor.name, &format!("{}\nrespond = {{ status = 202 }}", vendor.source(&[0])));
    }
    let daemon = setup.start();

    let at = now();
    let mut asked = Asked::default();
    let mut sent = Vec::new();
    for vendor in &vendors {
        let own = [None];
        let known: Vec<_> = libraries(vendor).iter().copied().map(Some).collect();
        for (n, library) in (if known.is_empty() { &own[..] } else { &known[..] }).iter().enumerate() {
            let (mut headers, body) = nth(vendor, n);
            let body = body.into_bytes();
            let path = vendor.path(&body);
            match library {
                Some(library) => {
                    let (id, url) = (format!("{MESSAGE_ID}{n}"), format!("{PUBLIC}{path}"));
                    asked.sign(*library, &vendor.secrets[0], &id, &url, &body, at);
                }
                None => headers.extend((vendor.sign)(&vendor.secrets[0], at, &body)),
            }
            sent.push(Sent { vendor, library: *library, request: Request { path, headers, body } });
        }
    }
    let mut answers = asked.answers().into_iter();
    for one in sent.iter_mut().filter(|one| one.library.is_some()) {
        one.request.headers.extend(pairs(&answers.next().unwrap()));
    }

    for one in &sent {
        let repeats = if one.vendor.dedup == Dedup::None { 1 } else { 3 };
        for _ in 0..repeats {
            let reply = post(&daemon, &one.request);
            assert_eq!(reply.status, 202, "{} by {:?}: {}", one.vendor.name, one.library, reply.text());
        }
    }
    let forwarded = app.wait(sent.len());
    assert_eq!(forwarded.len(), sent.len(), "repeats were forwarded");
    let mut asked = Asked::default();
    let mut judged = Vec::new();
    for one in &sent {
        let what = format!("{} by {:?}", one.vendor.name, one.library);
        let signature = one.request.get(one.vendor.signature);
        let path = format!("/{}", one.vendor.name);
        let whole = |request: &&Received| request.path == path && request.body[..] == one.request.body;
        let found = forwarded.iter().filter(whole).find(|request| {
            NOT_KEPT.contains(&one.vendor.signature.to_lowercase().as_str())
                || request.headers.get(one.vendor.signature).is_some_and(|value| value == signature)
        });
        let found = found.unwrap_or_else(|| panic!("{what} did not come out as it went in"));
        for (name, value) in &one.request.headers {
            let kept = (!NOT_KEPT.contains(&name.to_lowercase().as_str())).then_some(value.as_str());
            let values: Vec<_> = found.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values, kept.into_iter().collect::<Vec<_>>(), "{what}: {name}");
        }
        if let Some(library) = one.library {
            let url = format!("{PUBLIC}{}", one.request.path);
            asked.judge(library, &one.vendor.secrets[0], &url, &received_headers(found), &found.body, at);
            judged.push(what);
        }
    }
    for (what, answer) in judged.iter().zip(asked.answers()) {
        assert_eq!(answer["valid"], true, "{what}, as the app got it: {answer}");
    }
    for vendor in &vendors {
        let path = format!("/v1/events?limit=100&type={}", vendor.event_type);
        let events = daemon.client().get(&path).expect(200).json();
        let expected = sent.iter().filter(|one| one.vendor.name == vendor.name).count();
        assert_eq!(events["events"].as_array().unwrap().len(), expected, "{} of {}", vendor.event_type, vendor.name);
    }
}

/// Where libraries and we differ: whose they are (what their name begins with), over which requests, and why that is well.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    ("", &["in upper case"], "hex is read as the bytes that it stands for, which fit; the libraries compare texts"),
    (
        "",
        &["the good one twice", "the good one first of two", "the good one last of two", "the timestamp twice"],
        "what is there twice can be read as one thing here and another in the app; the libraries are given it joined, find \
         a good one among the parts, and read a number up to where it ends",
    ),
    ("", &["too many"], "lists are bounded here: each item may cost a check for each secret"),
    ("stripe/", &["+301 s", "+86400 s"], "Stripe's libraries look at the age alone; the future is refused here"),
    (
        "s",
        &["a sign before it", "a fraction"],
        "the libraries sign the number that they have read; here the text is signed as it came, so it must be a number",
    ),
    (
        "svix/",
        &[
            "webhook-id in the place of svix-id",
            "webhook-timestamp in the place of svix-timestamp",
            "webhook-signature in the place of svix-signature",
            "webhook-id besides",
            "webhook-timestamp besides",
            "webhook-signature besides",
        ],
        "Svix's library takes each header under either name, here both names are never mixed: two readers could see two \
         messages",
    ),
    (
        "twilio",
        &["a hash named twice"],
        "its library is given both joined and takes the first; a header that is there twice is refused here",
    ),
    (
        "standard/standardwebhooks.py",
        &["a character more", "bits behind its end"],
        "Python's base64 skips what stands behind the end; the bytes fit, but no sender writes them so",
    ),
    (
        "standard/standardwebhooks.py",
        &["the good one twice in one header"],
        "it throws on an item with two commas, which the specification asks to skip",
    ),
];

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_libraries_judge_forgeries_as_we_do() {
    let vendors = vendors();
    let mut asked = Asked::default();
    let mut ours = Vec::new();
    // That we judge them so is for the tests of `forgery` to say.
    let at = now();
    for vendor in &vendors {
        for case in cases(vendor, &vendors) {
            let request = (case.make)(at);
            for library in libraries(vendor) {
                let url = format!("{PUBLIC}{}", request.path);
                asked.judge(*library, &vendor.secrets[0], &url, &request.headers, &request.body, at);
                ours.push((vendor.name, library, case.what.clone(), case.verdict));
            }
        }
    }
    let mut unexplained = Vec::new();
    let mut met = BTreeSet::new();
    for ((source, (script, library), what, verdict), answer) in ours.iter().zip(asked.answers()) {
        if (*verdict == Verdict::Accepted) == (answer["valid"] == true) {
            continue;
        }
        let whose = format!("{source}/{library}{}", script.trim_start_matches("vendors"));
        let known = DIFFERENCES.iter().find(|(by, over, _)| whose.starts_with(by) && over.contains(&what.as_str()));
        match known {
            Some((by, ..)) => _ = met.insert((*by, what.as_str())),
            None => unexplained.push(format!("{whose}: {what}: {verdict:?} here, {answer} there")),
        }
    }
    assert!(unexplained.is_empty(), "{} of {}:\n{}", unexplained.len(), ours.len(), unexplained.join("\n"));
    for (by, over, why) in DIFFERENCES {
        for what in *over {
            assert!(met.contains(&(*by, *what)), "no library of {by:?} differs over {what:?} any more ({why})");
        }
    }
    println!("{} requests judged by the vendors' libraries", ours.len());
}

/// What Shopify's library wants to see besides the signature.
const SHOPIFY: &str = "headers = { \"x-shopify-topic\" = \"orders/create\", \"x-shopify-shop-domain\" = \"a.myshopify.com\", \
                       \"x-shopify-api-version\" = \"2026-10\", \"x-shopify-webhook-id\" = \"1\" }";

/// Schemes, by the vendor whose libraries judge what we sign under them: each scheme signs in one way only.
fn signed_by_us(vendors: &[Vendor]) -> impl Iterator<Item = &Vendor> {
    let verified_alone = ["slack-commands", "shopify-events", "twilio-shared"];
    vendors.iter().filter(move |vendor| !libraries(vendor).is_empty() && !verified_alone.contains(&vendor.name))
}

/// Something to sign that the vendor's library can read, in ASCII and beyond.
fn outgoing(vendor: &Vendor) -> [String; 2] {
    [vendor.body.to_owned(), vendor.body.replacen("id", "Grüße €", 1)]
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_libraries_take_what_the_daemon_signs_for_an_endpoint() {
    let vendors = vendors();
    let app = Receiver::start();
    let mut setup = Setup::new();
    for vendor in signed_by_us(&vendors) {
        let url = app.url(&format!("/{}", vendor.name));
        let secrets = format!("[{:?}, {:?}]", vendor.secrets[0], vendor.secrets[1]);
        let mut lines = format!(
            "url = \"{url}\"\nsecret = {secrets}\nsign = {{ scheme = \"{}\" }}\nformat = \"raw\"\nevents = [\"{}.*\"]",
            vendor.scheme, vendor.name
        );
        if vendor.scheme == "shopify" {
            lines.push_str(&format!("\n{SHOPIFY}"));
        }
        setup = setup.endpoint_alone(vendor.name, &lines);
    }
    let daemon = setup.start();
    let mut count = 0;
    for vendor in signed_by_us(&vendors) {
        for body in outgoing(vendor) {
            let content_type = vendor.headers[0].1;
            let path = format!("/v1/raw/{}.x", vendor.name);
            daemon.client().send("POST", &path, &[("content-type", content_type)], body).expect(202);
            count += 1;
        }
    }
    let mut asked = Asked::default();
    let mut whats = Vec::new();
    for request in app.wait(count) {
        let vendor = vendors.iter().find(|vendor| request.path == format!("/{}", vendor.name)).unwrap();
        // With these all secrets sign, so that the receiver may know either.
        let secrets = if matches!(vendor.scheme, "standard" | "stripe") { 2 } else { 1 };
        let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let url = app.url(&format!("{}{query}", request.path));
        for secret in &vendor.secrets[..secrets] {
            for library in libraries(vendor) {
                asked.judge(*library, secret, &url, &received_headers(&request), &request.body, now());
                whats.push((vendor.name, *library, true));
                let mut changed = request.body.to_vec();
                changed.push(b' ');
                asked.judge(*library, secret, &url, &received_headers(&request), &changed, now());
                whats.push((vendor.name, *library, false));
            }
        }
    }
    for (what, answer) in whats.iter().zip(asked.answers()) {
        assert_eq!(answer["valid"], what.2, "{what:?}: {answer}");
    }
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn the_libraries_take_what_the_command_signs() {
    let vendors = vendors();
    let dir = tempfile::tempdir().unwrap();
    let mut asked = Asked::default();
    let mut whats = Vec::new();
    for vendor in signed_by_us(&vendors) {
        let body = vendor.body;
        let secret = dir.path().join(vendor.name);
        std::fs::write(&secret, &vendor.secrets[0]).unwrap();
        let url = format!("{PUBLIC}{}", vendor.path(body.as_bytes()));
        let mut command = Command::new(binary());
        command.args(["sign", "--json", "--scheme", vendor.scheme, "--secret-file"]).arg(&secret);
        if vendor.scheme == "twilio" {
            command.args(["--url", &url]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", vendor.name);
        let printed: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
        let mut headers: Vec<Header> = printed.into_iter().collect();
        headers.extend(vendor.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for library in libraries(vendor) {
            for (secret, valid) in [(0, true), (1, false)] {
                asked.judge(*library, &vendor.secrets[secret], &url, &headers, body.as_bytes(), now());
                whats.push((vendor.name, *library, valid));
            }
        }
    }
    for (what, answer) in whats.iter().zip(asked.answers()) {
        assert_eq!(answer["valid"], what.2, "{what:?}: {answer}");
    }
}

#[test]
#[ignore = "needs the packages that tests/run installs"]
fn githubs_published_payloads_are_taken_as_octokit_signs_them() {
    let vendors = vendors();
    let github = vendors.iter().find(|vendor| vendor.name == "github").unwrap();
    let app = Receiver::start();
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"", app.url("/app"));
    let daemon = Setup::new().endpoint_alone("app", &endpoint).source("github", &github.source(&[0])).start();
    let payloads = lines(&script("github_payloads.js", &[], ""));
    assert!(payloads.len() >= 200, "only {} payloads", payloads.len());
    let library = libraries(github)[0];
    let mut asked = Asked::default();
    for payload in &payloads {
        asked.sign(library, &github.secrets[0], "", "", payload["body"].as_str().unwrap().as_bytes(), now());
    }
    let mut types = BTreeMap::<String, usize>::new();
    for (n, (payload, signed)) in payloads.iter().zip(asked.answers()).enumerate() {
        let event = payload["event"].as_str().unwrap();
        *types.entry(format!("github.{event}")).or_default() += 1;
        let mut request = Request::good(github, 0);
        request.set("X-GitHub-Event", event);
        request.set("X-GitHub-Delivery", format!("72d3162e-cc78-11e3-81ab-{n:012}"));
        request.set("X-Hub-Signature-256", pairs(&signed)[0].1.clone());
        request.body = payload["body"].as_str().unwrap().as_bytes().to_vec();
        for _ in 0..2 {
            assert_eq!(post(&daemon, &request).status, 200, "{event}");
        }
        // The signature of one payload is none of another.
        request.body.push(b'\n');
        assert_eq!(post(&daemon, &request).status, 401, "{event}");
    }
    let forwarded = app.wait(payloads.len());
    assert_eq!(forwarded.len(), payloads.len(), "repeats were forwarded");
    let mut asked = Asked::default();
    for request in &forwarded {
        let n: usize = request.header("x-github-delivery").rsplit_once('-').unwrap().1.parse().unwrap();
        assert!(request.text() == payloads[n]["body"].as_str().unwrap(), "payload {n} was changed");
        assert_eq!(request.header("x-github-event"), payloads[n]["event"].as_str().unwrap());
        asked.judge(library, &github.secrets[0], "", &received_headers(request), &request.body, now());
    }
    assert!(asked.answers().iter().all(|answer| answer["valid"] == true), "octokit refuses what the app got");
    for (event_type, expected) in types {
        let events = daemon.client().get(&format!("/v1/events?limit=1000&type={event_type}")).expect(200).json();
        assert_eq!(events["events"].as_array().unwrap().len(), expected, "{event_type}");
    }
    println!("{} GitHub payloads in and out", payloads.len());
}
