//! Certificates that have expired: `check` refuses them, and a daemon that starts at night goes on with all else.

use std::process::Command;

use rcgen::{CertificateParams, date_time_ymd};

use super::Authority;
use crate::kit::{Daemon, Receiver, Setup, binary};

fn old(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
}

const FAULT: &str = "tls.cert: the certificate has been expired since 2021-01-01T00:00:00Z";

/// The exit code of `check`, and what it printed.
fn check(daemon: &Daemon) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(["check", "--config"]).arg(daemon.config()).output().unwrap();
    (output.status.code(), super::all(&output))
}

#[test]
fn an_endpoint_whose_certificate_has_expired_stops_neither_the_start_nor_another_reload() {
    let (clients, receiver) = (Authority::new("clients"), Receiver::start());
    let tls = |name: &str| format!("tls = {{ cert = \"{name}.pem\", key = \"{name}.key\" }}");
    let mut daemon = Setup::new()
        .endpoint("good", &receiver.url("/good"), "")
        .endpoint("late", "https://localhost:1/", &format!("events = [\"none\"]\n{}", tls("late")))
        .prepare();
    clients.issue(&["late"], old).write(daemon.dir(), "late.pem", "late.key");
    let (code, printed) = check(&daemon);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("endpoint.late.") && printed.contains(FAULT), "{printed}");

    daemon.run();
    let log = daemon.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(FAULT)), "{log}");
    daemon.client().event("a", "1");
    receiver.wait(1);

    // What else changes is put in force, and the fault is told again.
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let one_more = config.replace(
        "[endpoint.late]",
        "[endpoint.more]\nurl = \"https://localhost:1/\"\nsign = \"none\"\n[endpoint.late]",
    );
    std::fs::write(daemon.config(), &one_more).unwrap();
    let reloaded = daemon.client().post("/v1/reload", "").expect(200).json();
    assert_eq!(reloaded["endpoints"]["added"][0], "more");
    assert!(reloaded["warnings"].to_string().contains(FAULT), "{reloaded}");

    // A certificate that comes only now must hold.
    clients.issue(&["more"], old).write(daemon.dir(), "more.pem", "more.key");
    let worse = one_more.replace("[endpoint.more]\n", &format!("[endpoint.more]\n{}\n", tls("more")));
    std::fs::write(daemon.config(), worse).unwrap();
    let refused = daemon.client().post("/v1/reload", "").problem(422);
    assert!(refused.to_string().contains("endpoint.more.tls.cert"), "{refused}");
}

#[test]
fn a_listener_whose_certificate_has_expired_still_takes_those_who_do_not_mind() {
    let root = Authority::new("root");
    let mut daemon = Setup::new().api(super::TLS).prepare();
    root.issue(&["localhost"], old).write(daemon.dir(), "cert.pem", "key.pem");
    std::fs::write(daemon.dir().join("root.pem"), root.pem()).unwrap();
    assert_eq!(check(&daemon).0, Some(2));
    super::run(&mut daemon);
    let strict = super::curl(&daemon, &[], "/healthz");
    assert!(super::all(&strict).contains("expired"), "{}", super::all(&strict));
    let lax = super::curl(&daemon, &["-k"], "/healthz");
    assert!(lax.status.success(), "{}", super::all(&lax));
    // A new one is found in its files.
    root.server().write(daemon.dir(), "cert.pem", "key.pem");
    crate::kit::eventually("the new certificate is served", || {
        super::curl(&daemon, &[], "/healthz").status.success().then_some(())
    });
}
