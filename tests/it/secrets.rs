//! Everything that a daemon writes, searched for every secret and payload that it was given.

mod inbound;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;

use crate::kit::{Answer, Client, Daemon, Receiver, Reply, Setup, binary, block_on, eventually, runtime};

/// HMAC secrets in all the places where one can stand.
const IN_STRING: &str = "whsec_aW4tc3RyaW5nLXNlY3JldC1vZi1lbmRwb2ludA==";
const IN_ROTATION: &str = "whsec_cm90YXRlZC1zZWNyZXQtb2YtYW4tZW5kcG9pbnQ=";
const IN_ENV: &str = "whsec_c2VjcmV0LWluLXRoZS1lbnZpcm9ubWVudC0wMQ==";
const IN_CREDENTIAL: &str = "credential-secret-7f3a9";
const FIXED_TOKEN: &str = "fixed-token-secret-51c2e";
const PASSWORD: &str = "basic-password-secret-8d1f";
const IN_HEADER: &str = "header-credential-secret-2b6";
const IN_QUERY: &str = "query-credential-secret-94e";
const SEND_TOKEN: &str = "api-send-token-secret-0a1b";
const READ_TOKEN: &str = "api-read-token-secret-2c3d";
const ADMIN_TOKEN: &str = "api-admin-token-secret-4e5f";
const WRONG_TOKEN: &str = "api-wrong-token-secret-6a7b";
/// One that a config brings which is refused: a whsec_ that is none.
const REFUSED: &str = "whsec_cmVmdXNlZA==refused-secret-3f8";
const REFUSED_TOKEN: &str = "refused-api-token-secret-9c";

const PAYLOAD: &str = "payload-marker-c41d";
const RESPONSE: &str = "response-marker-77b2";

/// A text in every form that it could be written in.
fn forms(name: &str, secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![
        (format!("{name}, plain"), secret.to_vec()),
        (format!("{name}, hex"), hex::encode(secret).into_bytes()),
        (format!("{name}, HEX"), hex::encode_upper(secret).into_bytes()),
        (
            format!("{name}, percent-encoded"),
            secret.iter().map(|byte| format!("%{byte:02X}")).collect::<String>().into(),
        ),
        // As `Debug` shows bytes that are no text.
        (format!("{name}, as numbers"), secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into()),
    ];
    // Base64 looks different by where in a triple of bytes the text begins; what its neighbours have a part in is left out.
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(secret);
        let coded = STANDARD.encode(&shifted);
        let (from, to) = ([0, 2, 3][shift], shifted.len() / 3 * 4);
        forms.push((format!("{name}, base64 from byte {shift}"), coded.as_bytes()[from..to].to_vec()));
    }
    // What a Standard Webhooks secret decodes to is the key itself.
    for prefix in ["whsec_", "whsk_"] {
        let Some(coded) = std::str::from_utf8(secret).ok().and_then(|text| text.strip_prefix(prefix)) else { continue };
        forms.push((format!("{name}, without its prefix"), coded.as_bytes().to_vec()));
        let Ok(key) = STANDARD.decode(coded) else { continue };
        forms.push((format!("{name}, its key in hex"), hex::encode(&key).into_bytes()));
        forms.push((
            format!("{name}, its key as numbers"),
            key.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into(),
        ));
        forms.push((format!("{name}, its key"), key));
    }
    forms
}

/// What is searched, and what it is searched for.
struct Search {
    forms: Vec<(String, Vec<u8>)>,
    found: Vec<String>,
    bytes: usize,
}

impl Search {
    fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let forms = secrets.into_iter().flat_map(|(name, secret)| forms(name, secret.as_bytes())).collect();
        Self { forms, found: Vec::new(), bytes: 0 }
    }

    fn look(&mut self, place: &str, text: &[u8]) {
        self.bytes += text.len();
        for (name, form) in &self.forms {
            if let Some(at) = memmem::find(text, form) {
                let around = &text[at.saturating_sub(200)..text.len().min(at + form.len() + 20)];
                self.found.push(format!("{name} in {place}: …{}…", String::from_utf8_lossy(around)));
            }
        }
    }

    #[track_caller]
    fn end(self) {
        assert!(self.found.is_empty(), "{} finds:\n{}", self.found.len(), self.found.join("\n"));
    }
}

/// A daemon that was given a secret in every way there is.
struct Scene {
    daemon: Daemon,
    receiver: Receiver,
    ed25519: String,
    client_key: String,
    answers: Vec<(String, Vec<u8>)>,
    printed: Vec<(String, Vec<u8>)>,
}

impl Scene {
    fn start(log_format: &str) -> Self {
        let receiver = Receiver::answering(|request| match request.path.as_str() {
            "/fails" => Answer::status(500).body(RESPONSE),
            _ if request.attempt() == 1 => Answer::status(503).header("retry-after", "0").body(RESPONSE),
            _ => Answer::status(200).body(RESPONSE),
        });
        let url = |path: &str| receiver.url(path);
        let plain = |path: &str, lines: &str| format!("url = \"{}\"\n{lines}", url(path));
        let mut daemon = inbound::sources(Setup::new())
            .api(&format!("token.send = {{ secret = \"{SEND_TOKEN}\", scope = \"send\" }}"))
            .api("token.read = { secret = { file = \"read.token\" }, scope = \"read\" }")
            .api("token.admin = { secret = { env = \"ADMIN_TOKEN\" }, scope = \"admin\" }")
            .token(ADMIN_TOKEN)
            .delivery("retry = [\"20ms\", \"20ms\"]\nlog_response_bytes = \"1KiB\"")
            .endpoint_alone(
                "string",
                &plain("/works", &format!("secret = [\"{IN_STRING}\", \"{IN_ROTATION}\"]\nheaders = {{ \"x-key\" = \"{IN_HEADER}\" }}")),
            )
            .endpoint_alone("env", &plain("/fails", "secret = { env = \"ENDPOINT_SECRET\" }\nbreaker = \"off\""))
            .endpoint_alone("ed25519", &plain("/works", "secret = { file = \"ed25519.secret\" }\nformat = \"cloudevents\""))
            .endpoint_alone("credential", &plain("/works", "secret = { credential = \"github\" }\nsign = { scheme = \"github\" }\nformat = \"raw\""))
            .endpoint_alone("stripe", &plain("/works", &format!("secret = \"{IN_STRING}\"\nsign = {{ scheme = \"stripe\" }}")))
            .endpoint_alone("fixed", &plain("/works", &format!("secret = \"{FIXED_TOKEN}\"\nsign = {{ scheme = \"token\" }}")))
            .endpoint_alone("basic", &plain("/works", &format!("secret = \"{PASSWORD}\"\nsign = {{ scheme = \"basic\", username = \"me\" }}")))
            .endpoint_alone("query", &format!("url = \"http://127.0.0.1:1/?key={IN_QUERY}\"\nsign = \"none\""))
            .endpoint_alone(
                "tls",
                "url = \"https://127.0.0.1:1/\"\nsign = \"none\"\ntls = { cert = \"client.pem\", key = \"client.key\" }",
            )
            .prepare();
        let dir = daemon.dir();
        let pair = Command::new(binary()).args(["secret", "new", "--ed25519"]).output().unwrap().stdout;
        let ed25519 = String::from_utf8(pair).unwrap().lines().next().unwrap().to_owned();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["webhookd".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::create_dir(dir.join("credentials")).unwrap();
        for (name, text) in [
            ("ed25519.secret", ed25519.as_str()),
            ("read.token", READ_TOKEN),
            ("admin.token", ADMIN_TOKEN),
            ("wrong.token", WRONG_TOKEN),
            ("credentials/github", IN_CREDENTIAL),
            ("client.pem", &certificate.pem()),
            ("client.key", &key.serialize_pem()),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        let credentials = dir.join("credentials").to_str().unwrap().to_owned();
        let environment = [
            ("RUST_LOG", "trace"),
            ("WEBHOOKD_LOG", "trace"),
            ("ADMIN_TOKEN", ADMIN_TOKEN),
            ("ENDPOINT_SECRET", IN_ENV),
            ("CREDENTIALS_DIRECTORY", &credentials),
        ];
        daemon.launch(&environment, &["--log", log_format]);
        eventually("it is ready", || {
            daemon.client().try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200).then_some(())
        });
        let client_key = key.serialize_pem().lines().nth(1).unwrap().to_owned();
        Self { daemon, receiver, ed25519, client_key, answers: Vec::new(), printed: Vec::new() }
    }

    /// Every secret that it was given.
    fn secrets(&self) -> Vec<(&'static str, &str)> {
        let mut secrets = vec![
            ("the secret in a string", IN_STRING),
            ("the second of a list", IN_ROTATION),
            ("the secret in the environment", IN_ENV),
            ("the secret in a credential", IN_CREDENTIAL),
            ("the Ed25519 secret", &self.ed25519),
            ("the fixed token", FIXED_TOKEN),
            ("the password", PASSWORD),
            ("the header's credential", IN_HEADER),
            ("the query's credential", IN_QUERY),
            ("the client's key", &self.client_key),
            ("the send token", SEND_TOKEN),
            ("the read token", READ_TOKEN),
            ("the admin token", ADMIN_TOKEN),
            ("a wrong token", WRONG_TOKEN),
            ("a secret that was refused", REFUSED),
            ("a token that was refused", REFUSED_TOKEN),
        ];
        secrets.extend(inbound::SECRETS);
        secrets
    }

    fn keep(&mut self, what: &str, reply: &Reply) {
        let mut text = format!("{:?}\n", reply.headers).into_bytes();
        text.extend_from_slice(&reply.body);
        self.answers.push((format!("the answer to {what}"), text));
    }

    fn ask(&mut self, client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let reply = client.send(method, path, headers, body.to_owned());
        self.keep(&format!("{method} {path}"), &reply);
        reply
    }

    fn get(&mut self, path: &str) -> Reply {
        let client = self.daemon.client().clone();
        self.ask(&client, "GET", path, &[], "")
    }

    fn post(&mut self, path: &str, body: &str) -> Reply {
        let client = self.daemon.client().clone();
        self.ask(&client, "POST", path, &[("content-type", "application/json")], body)
    }

    /// Runs a command as a user of this daemon would, in the environment that the daemon has.
    fn run(&mut self, arguments: &[&str]) {
        let output = Command::new(binary())
            .args(arguments)
            .current_dir(self.daemon.dir())
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .env("ENDPOINT_SECRET", IN_ENV)
            .env("CREDENTIALS_DIRECTORY", self.daemon.dir().join("credentials"))
            .env("WEBHOOKD_LOG", "trace")
            .env_remove("WEBHOOKD_TOKEN_FILE")
            .output()
            .unwrap();
        let what = format!("`{}`", arguments.join(" "));
        self.printed.push((format!("{what} on stdout"), output.stdout));
        self.printed.push((format!("{what} on stderr"), output.stderr));
    }

    /// What happens to events: taken, refused, delivered, retried, dead, replayed.
    fn drive_events(&mut self) {
        let event = format!(r#"{{"id":"evt-1","type":"a","key":"k","data":{{"card":"{PAYLOAD}"}}}}"#);
        self.post("/v1/events", &event).expect(202);
        let admin = self.daemon.client().clone();
        let text = [("content-type", "text/plain"), ("idempotency-key", "idem-1")];
        self.ask(&admin, "POST", "/v1/raw/a?id=evt-2", &text, PAYLOAD).expect(202);
        let cloud = format!(r#"{{"specversion":"1.0","id":"evt-3","source":"/s","type":"a","data":"{PAYLOAD}"}}"#);
        self.ask(&admin, "POST", "/v1/events", &[("content-type", "application/cloudevents+json")], &cloud).expect(202);
        let batch = format!(r#"[{{"type":"a","data":"{PAYLOAD}"}},{{"type":"a","data":"{PAYLOAD}"}}]"#);
        self.post("/v1/events/batch", &batch).expect(202);
        self.post("/v1/events", &event.replace("card", "other")).problem(409);
        for malformed in [
            format!(r#"{{"type":"a","data":"{PAYLOAD}"#),
            format!(r#"{{"type":"{PAYLOAD} {PAYLOAD}","data":1}}"#),
            format!(r#"{{"type":"a","{PAYLOAD}":1,"data":1}}"#),
            format!(r#"["{PAYLOAD}"]"#),
        ] {
            // These come back in the answer, to the one who sent them.
            admin.post("/v1/events", malformed).any_problem();
        }
        for id in ["evt-1", "evt-2", "evt-3"] {
            for (endpoint, state) in [
                ("string", "delivered"),
                ("ed25519", "delivered"),
                ("credential", "delivered"),
                ("stripe", "delivered"),
                ("fixed", "delivered"),
                ("basic", "delivered"),
                ("env", "dead"),
                ("query", "dead"),
                ("tls", "dead"),
            ] {
                self.daemon.client().await_state(id, endpoint, state);
            }
        }
        assert!(self.receiver.requests().iter().any(|one| one.text().contains(PAYLOAD)), "the receiver is given it");
        self.post("/v1/events/evt-1/replay", "{}").expect(202);
        self.post("/v1/endpoints/env/replay", r#"{"state":"dead"}"#).expect(202);
        self.post("/v1/endpoints/string/ping", "").expect(202);
        self.post("/v1/endpoints/string/pause", "").expect(200);
        self.post("/v1/endpoints/string/resume", "").expect(200);
        self.daemon.client().await_state("evt-1", "env", "dead");
    }

    /// Who may not, and what is malformed.
    fn drive_refusals(&mut self) {
        let nobody = Client::tcp(self.daemon.listen());
        for (client, path) in [
            (nobody.with_token(WRONG_TOKEN), "/v1/events"),
            (nobody.with_token(SEND_TOKEN), "/v1/endpoints"),
            (nobody.clone(), "/metrics"),
        ] {
            self.ask(&client, "GET", path, &[], "").any_problem();
        }
        self.ask(&nobody.with_token(READ_TOKEN), "POST", "/v1/reload", &[], "").problem(403);
        self.ask(&nobody, "GET", &format!("/v1/events?token={WRONG_TOKEN}"), &[], "").problem(401);
        let basic = format!("Basic {}", STANDARD.encode(format!("me:{WRONG_TOKEN}")));
        self.ask(&nobody, "GET", "/v1/events", &[("authorization", &basic)], "").problem(401);
        let both = [("authorization", format!("Bearer {WRONG_TOKEN}"))];
        let admin = self.daemon.client().clone();
        self.ask(&admin, "GET", "/v1/events", &[(both[0].0, &both[0].1)], "").problem(401);
        self.ask(&admin, "POST", "/v1/reload", &[("origin", "https://evil.example")], "").problem(403);
        self.over_http_2(ADMIN_TOKEN, 200);
        self.over_http_2(WRONG_TOKEN, 401);
    }

    /// h2 logs what it does by itself.
    fn over_http_2(&mut self, token: &str, expected: u16) {
        let request = Request::post("http://localhost/v1/events")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let event = format!(r#"{{"id":"evt-1","type":"a","key":"k","data":{{"card":"{PAYLOAD}"}}}}"#);
        let request = request.body(Full::new(bytes::Bytes::from(event))).unwrap();
        let listen = self.daemon.listen().to_owned();
        let (head, body) = block_on(async {
            let stream = tokio::net::TcpStream::connect(listen).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = runtime().spawn(connection);
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            connection.abort();
            (head, body)
        });
        assert_eq!(head.status, expected);
        self.keep("an HTTP/2 request", &Reply { status: head.status.as_u16(), headers: head.headers, body });
    }

    /// Configs that are refused, with secrets in them, by the API, a signal and `check`.
    fn drive_reloads(&mut self) {
        let good = fs::read_to_string(self.daemon.config()).unwrap();
        self.post("/v1/reload", "").expect(200);
        for wrong in [
            good.replace(IN_STRING, REFUSED),
            good.replace(SEND_TOKEN, &format!("{REFUSED_TOKEN} with spaces")),
            good.replace(&format!("secret = \"{FIXED_TOKEN}\""), &format!("secrets = \"{REFUSED_TOKEN}\"")),
            good.replace(&format!("?key={IN_QUERY}"), &format!("?key={IN_QUERY}#{REFUSED_TOKEN}")),
            good.replace(IN_HEADER, &format!("{REFUSED_TOKEN}\\n")),
            good.replace("verify_token = ", &format!("verify_tokens = \"{REFUSED_TOKEN}\"\nverify_token = ")),
            format!("{good}\nsecret = {REFUSED_TOKEN}\n"),
        ] {
            fs::write(self.daemon.config(), wrong).unwrap();
            self.post("/v1/reload", "").problem(422);
            self.run(&["check", "--config", "webhookd.toml"]);
            self.run(&["check", "--config", "webhookd.toml", "--json"]);
        }
        let before = self.daemon.log().matches("config was not reloaded").count();
        self.daemon.signal(Signal::HUP);
        eventually("the signal is answered", || {
            (self.daemon.log().matches("config was not reloaded").count() > before).then_some(())
        });
        fs::write(self.daemon.config(), good).unwrap();
        self.post("/v1/reload", "").expect(200);
    }

    /// What is asked, by the API and by the commands.
    fn look_at_everything(&mut self) {
        let read = [
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/v1/events",
            "/v1/events/evt-1",
            "/v1/endpoints",
            "/v1/endpoints/query",
            "/none",
        ];
        for path in read {
            self.get(path);
        }
        let api = self.daemon.api();
        for arguments in
            [&["check", "--config", "webhookd.toml"][..], &["check", "--config", "webhookd.toml", "--json"]]
        {
            self.run(arguments);
        }
        for command in [
            &["endpoints", "--json"][..],
            &["endpoints"],
            &["events", "--json"],
            &["event", "evt-1", "--json"],
            &["event", "evt-2"],
            &["endpoint", "ping", "string"],
            &["replay", "--event", "evt-1", "--json"],
            &["reload"],
        ] {
            for token in ["admin.token", "wrong.token"] {
                let mut arguments = command.to_vec();
                arguments.extend(["--api", &api, "--token-file", token]);
                self.run(&arguments);
            }
        }
        assert!(self.printed.iter().any(|(_, text)| !text.is_empty()));
    }

    /// Searches all that was written, once the daemon has stopped.
    fn search(mut self) {
        assert!(self.daemon.stop().success());
        let log = self.daemon.log();
        assert!(log.contains("evt-1") && log.contains("TRACE"), "the log is as full as it gets:\n{log}");
        let mut search = Search::new(self.secrets());
        search.look("the log", log.as_bytes());
        for (place, text) in self.answers.iter().chain(&self.printed) {
            search.look(place, text);
        }
        for file in files(&self.daemon.data()) {
            search.look(&file.display().to_string(), &fs::read(&file).unwrap());
        }
        assert!(search.bytes > 100_000, "only {} bytes were searched", search.bytes);
        search.end();
        let mut search = Search::new([inbound::KEPT]);
        search.look("the log", log.as_bytes());
        for (place, text) in self.answers.iter().chain(&self.printed) {
            search.look(place, text);
        }
        search.end();
        let mut search = Search::new([("the payload", PAYLOAD), ("the response", RESPONSE)]);
        search.look("the log", log.as_bytes());
        let beside =
            files(&self.daemon.data()).into_iter().filter(|file| !file.starts_with(self.daemon.data().join("outbox")));
        for file in beside {
            search.look(&file.display().to_string(), &fs::read(&file).unwrap());
        }
        search.end();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn nothing_is_written(log_format: &str) {
    let mut scene = Scene::start(log_format);
    scene.drive_events();
    scene.drive_inbound();
    scene.drive_refusals();
    scene.drive_reloads();
    scene.look_at_everything();
    scene.search();
}

#[test]
fn no_secret_and_no_payload_is_written_in_a_log_for_people() {
    nothing_is_written("human");
}

#[test]
fn no_secret_and_no_payload_is_written_in_a_log_in_json() {
    nothing_is_written("json");
}

#[test]
fn the_demo_shows_no_secret() {
    let output = Command::new(binary()).args(["demo", "--once"]).env("WEBHOOKD_LOG", "trace").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = [output.stdout, output.stderr].concat();
    for mark in ["whsec_", "whsk_", "v1,", "v1a,"] {
        assert_eq!(memmem::find(&text, mark.as_bytes()), None, "{mark}:\n{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn the_search_finds_what_it_is_for() {
    let secret = "whsec_aW4tc3RyaW5nLXNlY3JldC1vZi1lbmRwb2ludA==";
    for written in [
        secret.to_owned(),
        secret["whsec_".len()..].to_owned(),
        STANDARD.encode(format!("me:{secret}")),
        STANDARD.encode(format!("you:{secret}!")),
        STANDARD.encode(format!("{secret}!!")),
        hex::encode(secret),
        format!("{:?}", b"in-string-secret-of-endpoint"),
        "in-string-secret-of-endpoint".to_owned(),
    ] {
        let mut search = Search::new([("it", secret)]);
        search.look("here", format!("a line with {written} in it").as_bytes());
        assert!(!search.found.is_empty(), "{written}");
    }
}
