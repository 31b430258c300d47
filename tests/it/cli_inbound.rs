//! The command line in the place of third parties: it makes their requests, judges them, and passes them on to an app.

use crate::kit::command::{Background, ill, run, well, well_with};
use crate::kit::{Answer, Client, Daemon, Receiver, SECRET, SECRET_NEXT, Setup, free_port};

/// A scheme, its secret and another one, its options in a config and on the command line.
struct Case {
    scheme: &'static str,
    secret: &'static str,
    other: &'static str,
    config: &'static str,
    options: &'static [&'static str],
}

const CASES: [Case; 11] = [
    Case { secret: SECRET, other: SECRET_NEXT, ..plain("standard") },
    plain("github"),
    plain("stripe"),
    plain("shopify"),
    plain("slack"),
    plain("twilio"),
    plain("gitlab"),
    plain("zendesk"),
    Case {
        config: ", header = \"x-sig\", algorithm = \"sha512\", encoding = \"base64\", prefix = \"v9=\", \
            content = \"{timestamp}.{id}:{body}\", timestamp_header = \"x-at\", id_header = \"x-id\", tolerance = \"10m\"",
        options: &[
            "--signature-header",
            "x-sig",
            "--algorithm",
            "sha512",
            "--encoding",
            "base64",
            "--prefix",
            "v9=",
            "--content",
            "{timestamp}.{id}:{body}",
            "--timestamp-header",
            "x-at",
            "--id-header",
            "x-id",
            "--tolerance",
            "10m",
        ],
        ..plain("hmac")
    },
    Case { config: ", header = \"x-token\"", options: &["--signature-header", "x-token"], ..plain("token") },
    Case { config: ", username = \"vendor\"", options: &["--username", "vendor"], ..plain("basic") },
];

const fn plain(scheme: &'static str) -> Case {
    Case { scheme, secret: "a-secret-of-some-length", other: "another-secret-of-some-length", config: "", options: &[] }
}

/// A daemon with a source for each scheme, named as the scheme is.
fn daemon(app: &Receiver) -> Daemon {
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"", app.url("/app"));
    let mut setup = Setup::new().endpoint_alone("app", &endpoint);
    for Case { scheme, secret, config, .. } in &CASES {
        setup = setup.source(scheme, &format!("verify = {{ scheme = \"{scheme}\", secret = \"{secret}\"{config} }}"));
    }
    setup.start()
}

fn words<'a>(case: &'a Case, secret: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--scheme", case.scheme, "--secret", secret], case.options, more].concat()
}

#[test]
fn a_request_of_every_scheme_is_made_and_taken_and_one_under_another_secret_is_not() {
    let app = Receiver::start();
    let daemon = daemon(&app);
    for (n, case) in CASES.iter().enumerate() {
        let url = format!("http://{}/in/{}", daemon.inbound().address(), case.scheme);
        let body = format!("{{\"type\":\"invoice.paid\",\"id\":\"evt_{n}\", \"n\": 1.10}}");
        let post = |secret, more: &[&str]| {
            let words = [&["sign"], &words(case, secret, &["--post", &url])[..], more].concat();
            run(&words, &body)
        };
        let taken = post(case.secret, &["--json"]);
        assert_eq!(taken.status.code(), Some(0), "{}: {taken:?}", case.scheme);
        let answer: serde_json::Value = serde_json::from_slice(&taken.stdout).unwrap();
        assert_eq!(answer["status"], 200, "{}: {answer}", case.scheme);
        let got = app.wait(n + 1).pop().unwrap();
        assert_eq!(got.text(), body, "{}", case.scheme);
        assert_eq!(got.header("content-type"), "application/json");
        let refused = post(case.other, &[]);
        assert_eq!(refused.status.code(), Some(1), "{}", case.scheme);
        let shown = String::from_utf8(refused.stdout).unwrap();
        assert!(shown.starts_with("answered 401") && !shown.contains("mismatch"), "{}: {shown}", case.scheme);
    }
    assert_eq!(app.count(), CASES.len(), "nothing that was refused came to the app");
}

#[test]
fn a_form_is_signed_as_twilio_does_and_a_public_url_may_be_another_one() {
    let app = Receiver::start();
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"", app.url("/app"));
    let verify = "verify = { scheme = \"twilio\", secret = \"token-of-twilio\" }";
    let daemon = Setup::new()
        .endpoint_alone("app", &endpoint)
        .source("sms", verify)
        .source("public", &format!("{verify}\npublic_url = \"https://hooks.example.com/sms\""))
        .start();
    let url = |path: &str| format!("http://{}/in/{path}", daemon.inbound().address());
    let sign = ["sign", "--scheme", "twilio", "--secret", "token-of-twilio"];
    well_with(&[&sign[..], &["--post", &url("sms?a=b")]].concat(), "To=%2B1&Body=hello+there");
    assert_eq!(app.wait(1)[0].header("content-type"), "application/x-www-form-urlencoded");
    let public = ["--post", &url("public"), "--url", "https://hooks.example.com/sms"];
    well_with(&[&sign[..], &public].concat(), "To=%2B1&Body=hello+again");
    well_with(&[&sign[..], &public].concat(), "{\"json\": true}");
    app.wait(3);
    let wrong = ["--post", &url("public"), "--url", "https://elsewhere.example.com/sms"];
    ill_silently(&[&sign[..], &wrong].concat(), "To=%2B1");
}

/// It fails with 1, and what there is to say stands in its output.
fn ill_silently(arguments: &[&str], input: &str) {
    let output = run(arguments, input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.starts_with(b"answered 401"), "{output:?}");
}

#[test]
fn an_id_makes_repeats_and_headers_are_the_users_to_choose() {
    let app = Receiver::start();
    let daemon = daemon(&app);
    let url = format!("http://{}/in/github", daemon.inbound().address());
    let case = CASES.iter().find(|case| case.scheme == "github").unwrap();
    let sign = |more: &[&str]| {
        let words = [&["sign"], &words(case, case.secret, &["--post", &url])[..], more].concat();
        run(&words, "{}")
    };
    for _ in 0..2 {
        assert!(sign(&["--id", "d-1", "-H", "x-github-event: push"]).status.success());
    }
    assert!(sign(&["--id", "d-2"]).status.success());
    let got = app.wait(2);
    let events: std::collections::BTreeSet<_> = got.iter().map(|request| request.header("x-github-event")).collect();
    assert_eq!(events.into_iter().collect::<Vec<_>>(), ["ping", "push"]);
    // A header that is given stands in the place of ours: so a forgery is made.
    let forged = sign(&["-H", "x-hub-signature-256: sha256=00"]);
    assert_eq!(forged.status.code(), Some(1), "{forged:?}");
}

#[test]
fn what_is_signed_is_verified_and_anything_else_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    let url = ["--url", "https://hooks.example.com/in"];
    for case in &CASES {
        let url = if case.scheme == "twilio" { &url[..] } else { &[] };
        let headers = well_with(&[&["sign"], &words(case, case.secret, url)[..]].concat(), "a=b");
        std::fs::write(&file, &headers).unwrap();
        let verify = |secret: &'static str, body: &str, code: i32| {
            let words = words(case, secret, &["--headers", file.to_str().unwrap()]);
            let words = [&["verify"], &words[..], url].concat();
            if code == 0 { well_with(&words, body) } else { ill(&words, body, code) }
        };
        assert!(verify(case.secret, "a=b", 0).contains("the signature holds"), "{}", case.scheme);
        let other = verify(case.other, "a=b", 1);
        assert!(other.contains("the signature does not hold: the signature fits no secret: "), "{other}");
        if !["token", "basic", "gitlab"].contains(&case.scheme) {
            verify(case.secret, "a=c", 1);
        }
        let bare = ill(&[&["verify"], &words(case, case.secret, url)[..]].concat(), "a=b", 1);
        let first = headers.split(':').next().unwrap();
        assert!(bare.contains("is missing: ") && bare.contains(first), "{}: {bare}", case.scheme);
    }
    let missing = ill(&["verify", "--secret", "x", "--scheme", "hmac"], "", 2);
    assert!(missing.contains("--signature-header"), "{missing}");
    ill(&["sign", "--secret", "x", "--scheme", "twilio"], "", 2);
    ill(&["sign", "--secret", "x", "--scheme", "github", "-H", "a: b"], "", 2);
}

/// `listen` on a port of its own, with these options.
fn listening(options: &[&str]) -> (Background, Client) {
    let port = free_port().to_string();
    let mut child = Background::start(&[&["listen", "--port", &port], options].concat());
    assert!(child.line().contains(&port), "it says where it listens");
    (child, Client::tcp(format!("127.0.0.1:{port}")))
}

/// The lines of one request, up to the empty one behind it.
fn shown(child: &mut Background) -> Vec<String> {
    std::iter::repeat_with(|| child.line()).take_while(|line| !line.is_empty()).collect()
}

#[test]
fn a_request_is_passed_on_as_it_came_and_the_apps_answer_goes_back() {
    let app = Receiver::answering(|_| Answer::status(202).header("content-type", "text/x-app").body("taken: ü"));
    let (mut child, client) = listening(&["--forward", &app.url("/hooks")]);
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("accept-encoding", "gzip"),
    ];
    let body = b"{\"n\": 1.10, \"raw\": \"\xff\"}";
    let answer = client.send("POST", "/anything?a=b%20c", &headers, &body[..]).expect(202);
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("taken: ü", Some("text/x-app")));
    let got = app.wait(1).remove(0);
    assert_eq!((got.method.as_str(), got.path_and_query.as_str()), ("POST", "/hooks?a=b%20c"));
    assert_eq!(&got.body[..], body);
    assert_eq!(got.header("x-github-event"), "push");
    assert_eq!(got.header("host"), app.address().to_string());
    for gone in ["x-hop", "connection", "accept-encoding"] {
        assert!(got.headers.get(gone).is_none(), "{gone}");
    }
    let lines = shown(&mut child);
    assert!(lines[0].contains("POST /anything?a=b%20c") && lines[0].contains("answered 202"), "{lines:#?}");
    let last = lines.last().unwrap();
    assert!(last.contains(&format!("forwarded to {}?a=b%20c, answered 202 in ", app.url("/hooks"))), "{last}");
}

#[test]
fn an_app_that_is_down_makes_a_502_and_is_named() {
    let nobody = format!("http://127.0.0.1:{}/hooks", free_port());
    let (mut child, client) = listening(&["--forward", &nobody]);
    client.send("POST", "/", &[], "{}").expect(502);
    let lines = shown(&mut child);
    assert!(lines.last().unwrap().contains(&format!("not forwarded to {nobody}: nobody answers at")), "{lines:#?}");
    let (mut child, client) = listening(&["--forward", &nobody, "--json"]);
    client.send("POST", "/", &[], "{}").expect(502);
    let line: serde_json::Value = serde_json::from_str(&child.line()).unwrap();
    assert_eq!((&line["answered"], &line["forwarded"]["status"]), (&502.into(), &serde_json::Value::Null), "{line}");
    assert!(line["forwarded"]["error"].as_str().unwrap().contains("nobody answers"), "{line}");
}

#[test]
fn a_request_of_every_scheme_is_judged_first_and_a_forged_one_is_not_passed_on() {
    let app = Receiver::start();
    for (n, case) in CASES.iter().enumerate() {
        let verify = ["--forward", &app.url("/hooks"), "--verify", case.secret, "--scheme", case.scheme];
        let (mut child, client) = listening(&[&verify[..], case.options, &["--json"]].concat());
        let url = format!("http://{}/hook", client.address());
        let sign = |secret| run(&[&["sign"], &words(case, secret, &["--post", &url])[..]].concat(), "{}");
        let genuine = sign(case.secret);
        assert!(genuine.status.success(), "{}: {genuine:?}", case.scheme);
        let line: serde_json::Value = serde_json::from_str(&child.line()).unwrap();
        assert_eq!(line["signature"]["valid"], true, "{line}");
        assert_eq!(line["forwarded"]["status"], 200, "{line}");
        app.wait(n + 1);
        assert_eq!(sign(case.other).status.code(), Some(1), "{}", case.scheme);
        let line: serde_json::Value = serde_json::from_str(&child.line()).unwrap();
        assert_eq!((&line["answered"], &line["signature"]["valid"]), (&401.into(), &false.into()), "{line}");
        assert_eq!(line["forwarded"], serde_json::Value::Null, "{line}");
    }
    assert_eq!(app.count(), CASES.len());
}

#[test]
fn a_daemon_delivers_through_it_and_its_failures_are_not_passed_on() {
    let app = Receiver::start();
    let (_child, client) = listening(&["--forward", &app.url("/hooks"), "--fail", "2", "--status", "418"]);
    let daemon = Setup::new()
        .delivery("retry = [\"20ms\", \"20ms\"]")
        .endpoint("app", &format!("http://{}/", client.address()), "")
        .start();
    let id = daemon.client().event("a", "1");
    let delivery = daemon.client().await_state(&id, "app", "delivered");
    assert_eq!(delivery["attempts"][1]["status"], 418, "{delivery}");
    assert_eq!(app.wait(1)[0].attempt(), 3);
}

#[test]
fn what_makes_no_sense_together_is_said() {
    let complaint = ill(&["listen", "--forward", "http://127.0.0.1:1/", "--status", "500"], "", 2);
    assert!(complaint.contains("--fail"), "{complaint}");
    assert!(ill(&["listen", "--scheme", "github"], "", 2).contains("--verify"));
    assert!(ill(&["listen", "--forward", "127.0.0.1:3000"], "", 2).contains("http://127.0.0.1:3000/hooks"));
    assert!(ill(&["listen", "--forward", "http://127.0.0.1:1/", "--ca", "x"], "", 2).contains("https"));
    assert!(well(&["listen", "--help"]).contains("--forward"));
}
