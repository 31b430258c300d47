//! The listener of third parties speaks TLS as the API's does, with a certificate of its own.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use super::{Authority, Issued, Kept, MUTUAL, TLS, run, text};
use crate::kit::{Daemon, Setup, eventually};

const SOURCE: &str = "verify = { scheme = \"none\" }\nallow_networks = [\"127.0.0.0/8\", \"192.0.2.0/24\"]";

/// A daemon whose API speaks plain HTTP, and whose `[inbound]` has these lines.
struct Inbound {
    daemon: Daemon,
    root: Authority,
    clients: Authority,
    issued: Issued,
}

impl Inbound {
    fn start(lines: &str) -> Self {
        let (root, clients) = (Authority::new("root"), Authority::new("clients"));
        let issued = root.server();
        let mut daemon = Setup::new().source("app", SOURCE).inbound(lines).prepare();
        issued.write(daemon.dir(), "cert.pem", "key.pem");
        fs::write(daemon.dir().join("clients.pem"), clients.pem()).unwrap();
        run(&mut daemon);
        Self { daemon, root, clients, issued }
    }

    fn connect(&self, client: Option<&Issued>) -> Result<Kept, String> {
        self.connect_after(b"", client)
    }

    /// After these bytes in the clear, which come in one piece with the handshake's.
    fn connect_after(&self, bytes: &[u8], client: Option<&Issued>) -> Result<Kept, String> {
        let mut socket = TcpStream::connect(self.daemon.inbound().address()).unwrap();
        socket.write_all(bytes).unwrap();
        Kept::over(socket, self.root.der(), client)
    }

    fn metric(&self, line: &str) -> f64 {
        let page = self.daemon.client().get("/metrics").expect(200).text();
        let value = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ').map(str::to_owned));
        value.unwrap_or_else(|| panic!("no {line} in:\n{page}")).parse().unwrap()
    }
}

#[test]
fn webhooks_come_over_tls_while_the_api_stays_plain() {
    let inbound = Inbound::start(TLS);
    let mut kept = inbound.connect(None).unwrap();
    for _ in 0..3 {
        assert_eq!(kept.post("/in/app"), Ok(200));
    }
    assert_eq!(kept.get("/healthz"), Ok(404));
    inbound.daemon.client().get("/readyz").expect(200);
    let plain = inbound.daemon.inbound().post("/in/app", "{}").problem(400);
    assert_eq!(plain["type"], "urn:webhookd:problem:tls-needed");
    assert_eq!(inbound.metric("webhookd_tls_handshakes_failed_total{listener=\"inbound\",reason=\"plain_http\"}"), 1.0);
    assert!(inbound.metric("webhookd_tls_certificate_expiry_timestamp_seconds{listener=\"inbound\"}") > 0.0);
    let log = inbound.daemon.log();
    let ready = log.lines().find(|line| line.contains(" ready ")).unwrap();
    assert!(ready.contains(&format!("https://{}", inbound.daemon.inbound().address())), "{ready}");
    assert!(ready.contains(&format!("http://{}", inbound.daemon.listen())), "{ready}");
}

#[test]
fn with_client_ca_only_certificates_of_it_get_in() {
    let inbound = Inbound::start(MUTUAL);
    let right = inbound.clients.issue(&["vendor"], |_| {});
    assert_eq!(inbound.connect(Some(&right)).unwrap().post("/in/app"), Ok(200));
    let wrong = inbound.root.issue(&["vendor"], |_| {});
    for client in [None, Some(&wrong)] {
        // Over TLS 1.3 a client learns it with its first answer.
        let answer = inbound.connect(client).and_then(|mut kept| kept.post("/in/app"));
        assert!(answer.is_err(), "{answer:?}");
    }
    let reason = |word| format!("webhookd_tls_handshakes_failed_total{{listener=\"inbound\",reason=\"{word}\"}}");
    assert_eq!(inbound.metric(&reason("no_client_certificate")), 1.0);
    assert_eq!(inbound.metric(&reason("bad_client_certificate")), 1.0);
}

#[test]
fn a_certificate_is_exchanged_on_disk_and_by_a_reload_while_connections_go_on() {
    let inbound = Inbound::start(TLS);
    let mut kept = inbound.connect(None).unwrap();
    assert_eq!(kept.shown(), inbound.issued.der);
    let next = inbound.root.server();
    next.write(inbound.daemon.dir(), "cert.pem", "key.pem");
    eventually("the new certificate is shown", || {
        assert_eq!(kept.post("/in/app"), Ok(200), "while it is exchanged");
        (inbound.connect(None).unwrap().shown() == next.der).then_some(())
    });
    let log = inbound.daemon.log();
    let told =
        log.lines().find(|line| line.contains("the certificate files have changed: new connections get")).unwrap();
    assert!(told.contains("inbound"), "{told}");

    let last = inbound.root.server();
    last.write(inbound.daemon.dir(), "last.pem", "last.key");
    let config = fs::read_to_string(inbound.daemon.config()).unwrap();
    fs::write(inbound.daemon.config(), config.replace("cert.pem", "last.pem").replace("key.pem", "last.key")).unwrap();
    let answer = inbound.daemon.client().post("/v1/reload", "").expect(200).json();
    assert_eq!(answer["settings"], serde_json::json!(["inbound.tls"]), "{answer}");
    assert_eq!(inbound.connect(None).unwrap().shown(), last.der);
    assert_eq!(kept.post("/in/app"), Ok(200));
    assert_eq!(kept.shown(), inbound.issued.der, "the same connection as before");
    // Nothing of it is new to whoever watches the files.
    assert_eq!(inbound.daemon.client().post("/v1/reload", "").expect(200).json()["settings"], serde_json::json!([]));
    // A reload that would put a broken one in force puts nothing in force.
    fs::write(inbound.daemon.dir().join("last.key"), &next.key).unwrap();
    inbound.daemon.client().post("/v1/reload", "").problem(422);
    assert_eq!(inbound.connect(None).unwrap().shown(), last.der);
}

#[test]
fn a_proxy_names_its_client_before_the_handshake() {
    let lines = format!("proxy_protocol = [\"127.0.0.1\"]\n{TLS}");
    let inbound = Inbound::start(&lines);
    let v2 = |ip: [u8; 4]| {
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &ip, &[198, 51, 100, 1], &[0xdc, 4], &[1, 0xbb]].concat()
    };
    let v1 = |ip: &str| format!("PROXY TCP4 {ip} 198.51.100.1 56324 443\r\n").into_bytes();
    for (header, status) in
        [(v1("192.0.2.7"), 200), (v2([192, 0, 2, 7]), 200), (v1("203.0.113.9"), 403), (v2([203, 0, 113, 9]), 403)]
    {
        let mut kept = inbound.connect_after(&header, None).unwrap();
        assert_eq!((kept.post("/in/app"), kept.post("/in/app")), (Ok(status), Ok(status)), "{}", header.escape_ascii());
    }
    // Without one there is no handshake, and after it nothing but one.
    assert!(inbound.connect(None).is_err());
    assert_eq!(inbound.metric("webhookd_proxy_headers_refused_total{listener=\"inbound\",reason=\"missing\"}"), 1.0);
    let twice = [v1("192.0.2.7"), v1("192.0.2.7")].concat();
    assert!(inbound.connect_after(&twice, None).is_err());
    let log = inbound.daemon.log();
    assert!(!text(log.as_bytes()).contains("PRIVATE KEY"), "{log}");
}
