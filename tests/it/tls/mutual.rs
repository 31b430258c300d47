//! Certificates of clients: only who shows one of the right authority gets in, and tokens are asked for all the same.

use std::fs;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::{Authority, Issued, Kept, MUTUAL, all, curl, params, port, run, s_client, text};
use crate::kit::{Daemon, Setup};

/// A daemon that asks for certificates of `clients`.
struct Mutual {
    daemon: Daemon,
    root: Authority,
    clients: Authority,
}

const TOKEN: &str = "0123456789abcdef0123";

impl Mutual {
    fn start() -> Self {
        let (root, clients) = (Authority::new("root"), Authority::new("clients"));
        let token = format!("token.app = {{ secret = \"{TOKEN}\", scope = \"admin\" }}");
        let mut daemon = Setup::new().api(MUTUAL).api(&token).prepare();
        root.server().write(daemon.dir(), "cert.pem", "key.pem");
        fs::write(daemon.dir().join("root.pem"), root.pem()).unwrap();
        fs::write(daemon.dir().join("clients.pem"), clients.pem()).unwrap();
        run(&mut daemon);
        Self { daemon, root, clients }
    }

    /// What curl gets with this certificate and these arguments: the status, or what it complains of.
    fn ask(&self, client: Option<&Issued>, arguments: &[&str], path: &str) -> Result<String, String> {
        let bearer = format!("authorization: Bearer {TOKEN}");
        let dir = self.daemon.dir();
        let (cert, key) = (dir.join("client.pem"), dir.join("client.key"));
        let mut all_arguments = vec!["-w", "%{http_code}"];
        if !arguments.contains(&"-o") {
            all_arguments.extend(["-o", "/dev/null"]);
        }
        if !arguments.contains(&"--no-token") {
            all_arguments.extend(["-H", &bearer]);
        }
        if let Some(client) = client {
            client.write(dir, "client.pem", "client.key");
            all_arguments.extend(["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
        }
        all_arguments.extend(arguments.iter().filter(|argument| **argument != "--no-token"));
        let output = curl(&self.daemon, &all_arguments, path);
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(all(&output)) }
    }
}

#[test]
fn only_certificates_of_the_right_authority_get_in() {
    let mutual = Mutual::start();
    let right = mutual.clients.issue(&["app"], |_| {});
    let old = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    let for_servers = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    let own_key = KeyPair::generate().unwrap();
    let own = params(&["app"]).self_signed(&own_key).unwrap();
    let self_signed = Issued { cert: own.pem(), key: own_key.serialize_pem(), der: own.der().clone() };
    // An authority of the same name with another key.
    let namesake = Authority::new("clients").issue(&["app"], |_| {});
    let wrong = [
        ("none", None),
        ("of the server's authority", Some(mutual.root.issue(&["app"], |_| {}))),
        ("of a namesake", Some(namesake)),
        ("expired", Some(mutual.clients.issue(&["app"], old))),
        ("not yet valid", Some(mutual.clients.issue(&["app"], early))),
        ("for servers", Some(mutual.clients.issue(&["app"], for_servers))),
        ("self-signed", Some(self_signed)),
    ];
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--tlsv1.3", "--http2"]] {
        assert_eq!(mutual.ask(Some(&right), version, "/v1/endpoints"), Ok("200".to_owned()), "{version:?}");
        for (what, client) in &wrong {
            let refused = mutual.ask(client.as_ref(), version, "/v1/endpoints");
            let complaint = refused.expect_err(what);
            let told = ["alert", "verification failed"].iter().any(|words| complaint.contains(words));
            assert!(told, "{what} with {version:?} is told why: {complaint}");
        }
    }
    // A certificate is no token, and no healthz without one either.
    assert_eq!(mutual.ask(Some(&right), &["--no-token"], "/v1/endpoints"), Ok("401".to_owned()));
    assert!(mutual.ask(None, &["--no-token"], "/healthz").is_err());
    let metrics_path = mutual.daemon.dir().join("metrics");
    let metrics_text = metrics_path.to_str().unwrap().to_owned();
    assert_eq!(mutual.ask(Some(&right), &["-o", &metrics_text], "/metrics"), Ok("200".to_owned()));
    let metrics = fs::read_to_string(metrics_path).unwrap();
    let failed = |reason: &str| {
        let name = format!("webhookd_tls_handshakes_failed_total{{listener=\"api\",reason=\"{reason}\"}} ");
        let value =
            metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |v| v.parse::<f64>().unwrap());
        value as u32
    };
    assert_eq!(failed("no_client_certificate"), 3 + 1);
    // One of a wrong authority is not even sent by clients that heed the names of the right ones.
    assert_eq!(failed("bad_client_certificate"), 3 * 6);
}

#[test]
fn nothing_is_resumed_where_clients_show_certificates() {
    let mutual = Mutual::start();
    let right = mutual.clients.issue(&["app"], |_| {});
    right.write(mutual.daemon.dir(), "client.pem", "client.key");
    let path = |name: &str| mutual.daemon.dir().join(name).to_str().unwrap().to_owned();
    let (cert, key, session) = (path("client.pem"), path("client.key"), path("session"));
    for version in ["-tls1_2", "-tls1_3"] {
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let shown = [version, "-cert", &cert, "-key", &key];
        let first =
            s_client(port(&mutual.daemon), &[&shown[..], &["-sess_out", &session, "-ign_eof"]].concat(), request);
        assert!(all(&first).contains("HTTP/1.1 200"), "{}", all(&first));
        if fs::exists(&session).unwrap() {
            let second = s_client(port(&mutual.daemon), &[&shown[..], &["-sess_in", &session]].concat(), "");
            assert!(!all(&second).contains("Reused"), "{version}: {}", all(&second));
        }
    }
}

#[test]
fn an_authority_that_is_taken_back_lets_nobody_in_any_more() {
    let mutual = Mutual::start();
    let right = mutual.clients.issue(&["app"], |_| {});
    let mut kept = Kept::open(port(&mutual.daemon), mutual.root.der(), Some(&right)).unwrap();
    assert_eq!(kept.get("/healthz"), Ok(200));
    fs::write(mutual.daemon.dir().join("clients.pem"), Authority::new("others").pem()).unwrap();
    crate::kit::eventually("the other authority is in force", || {
        assert_eq!(kept.get("/healthz"), Ok(200), "what was open stays open");
        mutual.ask(Some(&right), &[], "/healthz").is_err().then_some(())
    });
    assert_eq!(kept.get("/healthz"), Ok(200), "what was open stays open");
}
