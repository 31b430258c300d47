//! Versions, ciphers, protocols: what is spoken, probed with openssl, and by hand for what openssl has forgotten.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::{Secure, all, private, run, s_client, s_client_until, text};

/// A ClientHello of this version with these cipher suites, in a record (RFC 5246, section 7.4.1.2).
fn client_hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let list = |items: &[u16]| items.iter().flat_map(|item| item.to_be_bytes()).collect::<Vec<u8>>();
    let sized = |bytes: Vec<u8>| [u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes].concat();
    let extension = |kind: u16, body: Vec<u8>| [kind.to_be_bytes().to_vec(), sized(body)].concat();
    let extensions = [
        extension(10, sized(list(&[0x001d, 0x0017, 0x0018]))),
        extension(11, vec![1, 0]),
        extension(13, sized(list(&[0x0403, 0x0503, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201]))),
    ]
    .concat();
    let body = [
        version.to_be_bytes().to_vec(),
        vec![7; 32],
        vec![0],
        sized(list(suites)),
        vec![1, 0],
        // SSL 3.0 knows no extensions.
        if version > 0x0300 { sized(extensions) } else { Vec::new() },
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [vec![1], length[1..].to_vec(), body].concat();
    [vec![22], version.min(0x0301).to_be_bytes().to_vec(), sized(message)].concat()
}

/// What a server answers to a first flight.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// A ServerHello that chooses this version and this suite.
    Hello(u16, u16),
    /// A fatal alert.
    Alert(u8),
    /// Nothing, and the end of the connection.
    Closed,
}

fn probe(port: u16, bytes: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match answer.as_slice() {
            [21, _, _, 0, 2, level, description, ..] => {
                assert_eq!(*level, 2, "a fatal one");
                return Answer::Alert(*description);
            }
            // Past the record's head (5), the message's (4), version (2), random (32) and session id.
            [22, rest @ ..] if rest.len() > 42 && rest.len() > 44 + usize::from(rest[42]) => {
                let at = 43 + usize::from(rest[42]);
                let word = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
                return Answer::Hello(word(8), word(at));
            }
            _ => {}
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return Answer::Closed,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
        }
    }
}

/// Every suite that was ever given a number below 0x0100 or from 0xC000 on, tried alone with TLS 1.2.
fn accepted(port: u16) -> Vec<u16> {
    let suites = (0x0000..=0x00ff).chain(0xc000..=0xc0ff).chain(0xcca8..=0xccae).chain(0xd000..=0xd005);
    let taken = |suite: &u16| match probe(port, &client_hello(0x0303, &[*suite])) {
        Answer::Hello(version, chosen) => {
            assert_eq!((version, chosen), (0x0303, *suite));
            true
        }
        Answer::Alert(description) => {
            assert_eq!(description, 40, "handshake_failure for {suite:#06x}");
            false
        }
        Answer::Closed => panic!("{suite:#06x} met silence"),
    };
    suites.filter(taken).collect()
}

#[test]
fn of_all_cipher_suites_of_tls_1_2_only_those_with_forward_secrecy_and_aead_are_taken() {
    let mut secure = Secure::start();
    // ECDHE_ECDSA with AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305; no NULL, RC4, 3DES, CBC, export, or RSA key exchange.
    assert_eq!(accepted(secure.port()), [0xc02b, 0xc02c, 0xcca9]);
    // The same for an RSA certificate, made by openssl.
    secure.daemon.stop();
    let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "90"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(subject)
        .args(["-keyout", &secure.text("key.pem"), "-out", &secure.text("cert.pem")])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", all(&made));
    private(&secure.path("key.pem"));
    std::fs::copy(secure.path("cert.pem"), secure.path("root.pem")).unwrap();
    run(&mut secure.daemon);
    assert_eq!(accepted(secure.port()), [0xc02f, 0xc030, 0xcca8]);
    assert_eq!(text(&secure.curl(&["-w", "%{http_code}", "-o", "/dev/null"], "/readyz").stdout), "200");
}

#[test]
fn versions_before_1_2_are_refused_with_an_alert() {
    let secure = Secure::start();
    let suites = [0x0035, 0x002f, 0xc013, 0xc014, 0xc009, 0xc00a, 0xc02b, 0x00ff];
    // SSL 3.0, TLS 1.0 and 1.1: handshake_failure or protocol_version.
    for (version, alert) in [(0x0300, 40), (0x0301, 70), (0x0302, 70)] {
        assert_eq!(probe(secure.port(), &client_hello(version, &suites)), Answer::Alert(alert), "{version:#06x}");
    }
    // The hello of SSL 2.0 is of another shape.
    let ssl2 = [&[0x80, 0x1c, 1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 0, 0x80][..], &[7; 16]].concat();
    assert_eq!(probe(secure.port(), &ssl2), Answer::Closed);
    for version in ["-tls1", "-tls1_1"] {
        let output = s_client(secure.port(), &[version, "-cipher", "ALL:@SECLEVEL=0"], "");
        assert!(!output.status.success(), "{version}");
        let told = ["alert protocol version", "alert handshake failure"];
        assert!(told.iter().any(|words| all(&output).contains(words)), "{version}: {}", all(&output));
    }
    assert_eq!(secure.metric("webhookd_tls_handshakes_failed_total{listener=\"api\",reason=\"incompatible\"}"), 5.0);
}

#[test]
fn tls_1_2_and_1_3_are_spoken_with_what_is_good_in_each() {
    let secure = Secure::start();
    let root = secure.text("root.pem");
    let cases = [
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", true),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", true),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384", false),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256", false),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", false),
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", true),
        ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384", true),
        ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", true),
        ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256", false),
    ];
    for (version, option, cipher, taken) in cases {
        let output = s_client(secure.port(), &[version, option, cipher, "-CAfile", &root, "-verify_return_error"], "");
        assert_eq!(output.status.success(), taken, "{version} {cipher}: {}", all(&output));
        if taken {
            assert!(all(&output).contains(&format!("Cipher is {cipher}")), "{version} {cipher}: {}", all(&output));
            assert!(all(&output).contains("Verify return code: 0 (ok)"), "{}", all(&output));
        }
    }
    for (group, taken) in [("X25519", true), ("P-256", true), ("P-384", true), ("P-521", false), ("ffdhe2048", false)] {
        let output = s_client(secure.port(), &["-groups", group, "-CAfile", &root], "");
        assert_eq!(output.status.success(), taken, "{group}: {}", all(&output));
    }
    let both = s_client(secure.port(), &["-CAfile", &root], "");
    assert!(all(&both).contains("New, TLSv1.3"), "the newer where the client knows both: {}", all(&both));
}

#[test]
fn http_2_and_http_1_1_are_agreed_on_and_nothing_else() {
    let secure = Secure::start();
    let version = |arguments: &[&str]| {
        let arguments = [arguments, &["-w", "%{http_version} %{http_code}", "-o", "/dev/null"]].concat();
        text(&secure.curl(&arguments, "/readyz").stdout)
    };
    assert_eq!(version(&["--http2"]), "2 200");
    assert_eq!(version(&["--http1.1"]), "1.1 200");
    assert_eq!(version(&["--no-alpn", "--http1.1"]), "1.1 200");
    assert_eq!(version(&["--http2", "--tls-max", "1.2"]), "2 200");
    let output = s_client(secure.port(), &["-alpn", "spdy/3"], "");
    assert!(all(&output).contains("no application protocol"), "{}", all(&output));
    let posted = secure.curl(&["--http2", "--json", r#"{"type":"a","data":1}"#, "-w", "%{http_code}"], "/v1/events");
    assert!(text(&posted.stdout).ends_with("202"), "{}", all(&posted));
}

#[test]
fn renegotiation_is_not_possible() {
    let secure = Secure::start();
    // A line of one R asks s_client to renegotiate.
    let output = s_client_until(secure.port(), &["-tls1_2"], "R\n", false);
    let shown = all(&output);
    assert!(shown.contains("RENEGOTIATING"), "{shown}");
    // 1: the server has ended it; 124 would be the time limit.
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert_eq!(secure.connect().get("/readyz"), Ok(200));
}

#[test]
fn a_session_is_resumed_and_nothing_is_taken_before_the_handshake() {
    let secure = Secure::start();
    let session = secure.text("session");
    for version in ["-tls1_2", "-tls1_3"] {
        // A request, so that the tickets of TLS 1.3 arrive before the end.
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let first = s_client(secure.port(), &[version, "-sess_out", &session, "-ign_eof"], request);
        assert!(all(&first).contains("New, TLSv1."), "{version}: {}", all(&first));
        let second = s_client(secure.port(), &[version, "-sess_in", &session], "");
        assert!(all(&second).contains("Reused, TLSv1."), "{version}: {}", all(&second));
        assert!(!all(&second).contains("Max Early Data: 1"), "{}", all(&second));
    }
}
