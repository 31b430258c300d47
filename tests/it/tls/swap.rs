//! Certificates exchanged under way: by whoever writes files, and by a reload.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::{Authority, Kept, Secure, TLS, port, private, run, text};
use crate::kit::{Setup, eventually, never};

#[test]
fn a_certificate_swapped_on_disk_is_shown_to_new_connections_and_old_ones_go_on() {
    // As Kubernetes lays out a secret: files that lead through a link to a folder, which is exchanged whole.
    let root = Authority::new("root");
    let (first, second) = (root.server(), root.server());
    let mut daemon = Setup::new().api(TLS).prepare();
    let dir = daemon.dir().to_owned();
    for (folder, issued) in [("one", &first), ("two", &second)] {
        fs::create_dir(dir.join(folder)).unwrap();
        issued.write(&dir.join(folder), "cert.pem", "key.pem");
    }
    symlink("one", dir.join("..data")).unwrap();
    symlink("..data/cert.pem", dir.join("cert.pem")).unwrap();
    symlink("..data/key.pem", dir.join("key.pem")).unwrap();
    fs::write(dir.join("root.pem"), root.pem()).unwrap();
    run(&mut daemon);
    let connect = || Kept::open(port(&daemon), root.der(), None).unwrap();
    let mut kept = connect();
    assert_eq!(kept.get("/readyz"), Ok(200));
    assert_eq!(kept.shown(), first.der);

    symlink("two", dir.join("..next")).unwrap();
    fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
    let swapped = Instant::now();
    eventually("the new certificate is shown", || {
        assert_eq!(kept.get("/readyz"), Ok(200), "while it is exchanged");
        (connect().shown() == second.der).then_some(())
    });
    assert!(swapped.elapsed() < Duration::from_secs(20), "{:?}", swapped.elapsed());
    assert_eq!(kept.get("/readyz"), Ok(200));
    assert_eq!(kept.shown(), first.der, "the same connection as before");
    let log = daemon.log();
    assert_eq!(log.matches("the certificate files have changed: new connections get").count(), 1, "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn a_bad_swap_keeps_the_old_one_says_so_once_and_is_mended() {
    let secure = Secure::start();
    let mut kept = secure.connect();
    let next = secure.root.server();
    let refusals = || secure.daemon.log().matches("are not put in force").count();
    // Half of a certificate; then the whole one, whose key is not there yet; then both.
    fs::write(secure.path("cert.pem"), &next.cert[..100]).unwrap();
    eventually("it is told", || (refusals() == 1).then_some(()));
    fs::write(secure.path("cert.pem"), &next.cert).unwrap();
    eventually("what is wrong now is told", || (refusals() == 2).then_some(()));
    assert!(
        secure.daemon.log().contains("key: the private key does not fit the certificate"),
        "{}",
        secure.daemon.log()
    );
    assert_eq!(secure.connect().shown(), secure.issued.der);
    // Two more looks, and not a word.
    never(Duration::from_secs(22), "it is told again", || refusals() > 2);
    assert_eq!(secure.metric("webhookd_tls_certificates_refused_total{listener=\"api\"}"), 2.0);
    fs::write(secure.path("key.pem"), &next.key).unwrap();
    private(&secure.path("key.pem"));
    eventually("the new certificate is shown", || (secure.connect().shown() == next.der).then_some(()));
    assert_eq!(kept.get("/readyz"), Ok(200));
    // Files that are gone are a bad swap too.
    fs::remove_file(secure.path("cert.pem")).unwrap();
    eventually("it is told", || (refusals() == 3).then_some(()));
    assert_eq!(secure.connect().shown(), next.der);
}

#[test]
fn a_reload_takes_other_files_at_once_or_none_of_the_config() {
    let secure = Secure::start();
    let mut kept = secure.connect();
    let next = secure.root.issue(&["localhost", "127.0.0.1"], |params| {
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    });
    next.write(secure.daemon.dir(), "next.pem", "next.key");
    let config = fs::read_to_string(secure.daemon.config()).unwrap();
    let edit = |tls: &str, more: &str| fs::write(secure.daemon.config(), config.replace(TLS, tls) + more).unwrap();
    let reload = || {
        let output = secure.curl(&["-X", "POST", "-w", " %{http_code}"], "/v1/reload");
        let shown = text(&output.stdout);
        let (body, status) = shown.rsplit_once(' ').unwrap();
        (status.to_owned(), serde_json::from_str::<serde_json::Value>(body).unwrap())
    };
    let other = "tls = { cert = \"next.pem\", key = \"next.key\" }";
    // A fault elsewhere, and one in the certificate: nothing of it is taken.
    edit(other, "\n[endpoint.x]\nurl = \"nonsense\"\n");
    assert_eq!(reload().0, "422");
    assert_eq!(secure.connect().shown(), secure.issued.der);
    edit(
        "tls = { cert = \"next.pem\", key = \"key.pem\" }",
        "\n[endpoint.x]\nurl = \"http://127.0.0.1:9/\"\nsign = \"none\"\n",
    );
    let (status, problem) = reload();
    assert_eq!(status, "422");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("does not fit the certificate"), "{problem}");
    assert_eq!(text(&secure.curl(&["-o", "/dev/null", "-w", "%{http_code}"], "/v1/endpoints/x").stdout), "404");

    edit(other, "");
    let (status, answer) = reload();
    assert_eq!((status.as_str(), &answer["settings"]), ("200", &serde_json::json!(["api.tls"])));
    assert_eq!(secure.connect().shown(), next.der);
    assert_eq!(kept.get("/readyz"), Ok(200));
    assert_eq!(secure.metric("webhookd_tls_certificate_expiry_timestamp_seconds{listener=\"api\"}"), 3_786_912_000.0);
    // Whether there is TLS at all is for the next start to say.
    edit("", "");
    let (_, answer) = reload();
    assert_eq!(answer["needs_restart"], serde_json::json!(["api.tls"]));
    assert_eq!(secure.connect().get("/readyz"), Ok(200));
}
