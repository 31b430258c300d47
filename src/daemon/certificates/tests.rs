//! Watching, with a clock in hand.

use std::sync::Mutex;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::clock::{ManualClock, ManualHandle};

const START: &str = "2026-06-15T12:00:00Z";

struct Scene {
    dir: TempDir,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::at(UnixMs::parse_rfc3339(START).unwrap());
        let scene = Self { dir: tempfile::tempdir().unwrap(), clock, metrics: Metrics::shared() };
        scene.write(true, true);
        scene
    }

    /// Puts a new certificate until the end of June where the config has it, or a part of it.
    fn write(&self, cert: bool, key: bool) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 6, 30);
        let pair = KeyPair::generate().unwrap();
        if cert {
            fs::write(self.dir.path().join("cert.pem"), params.self_signed(&pair).unwrap().pem()).unwrap();
        }
        if key {
            fs::write(self.dir.path().join("key.pem"), pair.serialize_pem()).unwrap();
        }
    }

    fn certificates(&self) -> Certificates {
        let clock: SharedClock = Arc::new(ManualHandle(Arc::clone(&self.clock)));
        let text = "[api]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
        let config = Config::parse_at(text, "a.toml", self.dir.path(), &|_| None, clock.wall()).unwrap();
        Certificates::new(&config, &[Table::Api], &clock, &self.metrics).unwrap()
    }

    fn refused(&self) -> u64 {
        self.metrics.tls_certificates_refused.with_label_values(&["api"]).get()
    }

    /// Lets time go on, look after look, until a look has ended so.
    async fn looks(&self, certificates: &mut Certificates, done: impl Fn(&Watched) -> bool) {
        while !certificates.api.as_ref().is_some_and(|watched| watched.looking.is_none() && done(watched)) {
            let renewed = tokio::time::timeout(Duration::from_millis(20), certificates.renewed()).await;
            assert!(renewed.is_err(), "nothing new was put in force");
            self.clock.advance_ms(CERTIFICATE_POLL_MS);
        }
    }

    async fn renewed(&self, certificates: &mut Certificates) -> Arc<ListenerTls> {
        loop {
            match tokio::time::timeout(Duration::from_millis(20), certificates.renewed()).await {
                Ok(renewed) => return renewed.tls,
                Err(_) => self.clock.advance_ms(CERTIFICATE_POLL_MS),
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_hold_is_told_once_and_what_holds_is_put_in_force() {
    let scene = Scene::new();
    let mut certificates = scene.certificates();
    let before = certificates.api.as_ref().unwrap().current.chain.clone();
    scene.looks(&mut certificates, |watched| watched.seen.is_some()).await;
    scene.write(true, false);
    scene.looks(&mut certificates, |watched| watched.trouble.is_some()).await;
    assert_eq!(scene.refused(), 1);
    for _ in 0..3 {
        let looked = certificates.api.as_ref().unwrap().next_look;
        scene.looks(&mut certificates, |watched| watched.next_look > looked).await;
    }
    assert_eq!(scene.refused(), 1, "the same fault is told once");
    assert_eq!(certificates.api.as_ref().unwrap().current.chain, before);
    scene.write(true, true);
    let renewed = scene.renewed(&mut certificates).await;
    assert_ne!(renewed.chain, before);
    assert!(certificates.api.as_ref().unwrap().trouble.is_none());
}

#[tokio::test]
async fn files_that_changed_before_the_first_look_are_found() {
    let scene = Scene::new();
    let mut certificates = scene.certificates();
    scene.write(true, true);
    assert_ne!(scene.renewed(&mut certificates).await.chain, Vec::new());
}

#[tokio::test]
async fn a_reload_that_took_the_files_leaves_nothing_to_find() {
    let scene = Scene::new();
    let mut certificates = scene.certificates();
    scene.write(true, true);
    let text = "[api]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let next = Config::parse_at(text, "a.toml", scene.dir.path(), &|_| None, UnixMs::parse_rfc3339(START).unwrap());
    let next = next.unwrap();
    let prepared = certificates.prepare(&next).unwrap();
    assert_eq!(prepared.len(), 1);
    certificates.adopt(&next, prepared);
    assert!(certificates.prepare(&next).unwrap().is_empty(), "it is in force");
    scene.looks(&mut certificates, |watched| watched.seen.is_some()).await;
}

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_certificate_that_ends_is_told_of_once_a_day_and_louder_at_the_end() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone()).with_ansi(false).finish();
    let scene = Scene::new();
    let mut certificates = scene.certificates();
    let clock = Arc::clone(&certificates.clock);
    let count = |words: &str| String::from_utf8_lossy(&lines.0.lock().unwrap()).matches(words).count();
    let watched = certificates.api.as_mut().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        watched.warn(&clock);
        assert_eq!(count("expires soon"), 0, "more than 14 days");
        scene.clock.advance_ms(24 * 3600 * 1000);
        for hours in 0..48 {
            watched.warn(&clock);
            assert_eq!(count("WARN"), 1 + hours / 24);
            scene.clock.advance_ms(3600 * 1000);
        }
        scene.clock.advance_ms(20 * 24 * 3600 * 1000);
        watched.warn(&clock);
        assert_eq!(count("ERROR"), 1);
        assert_eq!(count("has expired"), 1);
    });
}
