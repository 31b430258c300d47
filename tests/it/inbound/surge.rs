//! A surge: far more requests than the app takes, all at once. Each is taken or refused, nothing in between, and the app gets
//! what was taken at its own pace.
//!
//! The tests that always run send a few thousand requests. Those that are ignored send fifty thousand, which takes an unoptimised
//! daemon a while; `tests/run` runs them too. `SURGE_REQUESTS` asks for another number.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::burst::{self, Fates, Shot};
use crate::kit::{Answer, Daemon, Receiver, Setup, within};

const CONNECTIONS: usize = 200;
const FEW: usize = 5_000;
const FULL: usize = 50_000;
/// The app's own pace: what it has at once at most, and how long it takes for one.
const IN_FLIGHT: usize = 16;
const TAKES: Duration = Duration::from_millis(2);
/// The longest that the app may be busy with what it gets.
const DRAINED_WITHIN: Duration = Duration::from_secs(240);

fn requests(usual: usize) -> usize {
    std::env::var("SURGE_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What the app got.
#[derive(Default)]
struct Got {
    ids: BTreeSet<usize>,
    events: BTreeSet<String>,
    wrong: Vec<String>,
    first: Option<Instant>,
    last: Option<Instant>,
}

struct Scene {
    daemon: Daemon,
    app: Receiver,
    /// Whether the app takes anything.
    open: Arc<AtomicBool>,
    got: Arc<Mutex<Got>>,
    shots: Arc<[Shot]>,
}

impl Scene {
    fn new(shots: usize, source: &str, storage: &str, endpoint: &str) -> Self {
        let shots = (0..shots).map(|n| Shot::new(format!("d-{n}"))).collect();
        Self::of(shots, &burst::source(source), storage, endpoint)
    }

    fn of(shots: Arc<[Shot]>, source: &str, storage: &str, endpoint: &str) -> Self {
        let (open, got) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Got>>::default());
        let app = Receiver::forgetful({
            let (open, got, shots) = (Arc::clone(&open), Arc::clone(&got), Arc::clone(&shots));
            move |request| {
                if !open.load(Ordering::Relaxed) {
                    return Answer::status(503);
                }
                let mut got = got.lock().unwrap();
                let n: usize = request.header("x-github-delivery")[2..].parse().unwrap();
                got.wrong.extend(shots[n].differs(request));
                if !got.ids.insert(n) {
                    got.wrong.push(format!("d-{n} came twice, though every attempt was answered 200"));
                }
                got.events.insert(request.id().to_owned());
                got.first = got.first.or(Some(request.at));
                got.last = Some(request.at);
                Answer::status(200).after(TAKES)
            }
        });
        let waits = vec!["\"500ms\""; 90].join(", ");
        let endpoint = format!(
            "url = \"{}\"\nsign = \"none\"\nformat = \"raw\"\nmax_in_flight = {IN_FLIGHT}\nbreaker = \"off\"\n{endpoint}",
            app.url("/app")
        );
        let daemon = Setup::new()
            .storage(storage)
            .delivery(&format!("retry = [{waits}]"))
            .endpoint_alone("app", &endpoint)
            .source("github", source)
            .start();
        Self { daemon, app, open, got, shots }
    }

    /// Sends all at once; what each was answered.
    fn surge(&self, name: &str) -> Fates {
        let start = Instant::now();
        let fates = burst::send(self.daemon.inbound().address(), &self.shots, CONNECTIONS, &Arc::default());
        let took = start.elapsed();
        assert_eq!(fates.len(), self.shots.len(), "not all were sent");
        let of = |status: u16| fates.values().filter(|fate| **fate == Some(status)).count();
        let (taken, limited, full) = (of(200), of(429), of(503));
        let report = format!(
            "surge, {name}: {} requests over {CONNECTIONS} connections in {:.1} s: {taken} answered 200, {limited} 429, \
             {full} 503\n",
            fates.len(),
            took.as_secs_f64()
        );
        print!("{report}");
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("surge-{name}.txt")), &report).unwrap();
        let others: Vec<_> = fates.iter().filter(|(_, fate)| !matches!(fate, Some(200 | 429 | 503))).take(5).collect();
        assert!(others.is_empty(), "{report}{others:?}");
        fates
    }

    /// Every request that was taken comes to the app once, as it was sent, and no other does; never more at once than configured.
    fn drains(&self, fates: &Fates) {
        let taken: BTreeSet<usize> = fates.iter().filter(|(_, fate)| **fate == Some(200)).map(|(n, _)| *n).collect();
        within(DRAINED_WITHIN, "the app has all that was taken", || {
            let got = self.got.lock().unwrap();
            (got.ids.len() >= taken.len() || !got.wrong.is_empty()).then_some(())
        });
        within(DRAINED_WITHIN, "nothing is pending", || {
            let page = self.daemon.client().get("/v1/events?state=pending&limit=1").expect(200).json();
            page["events"].as_array().unwrap().is_empty().then_some(())
        });
        let got = self.got.lock().unwrap();
        assert!(got.wrong.is_empty(), "{} are wrong: {:#?}", got.wrong.len(), &got.wrong[..got.wrong.len().min(3)]);
        assert_eq!(got.ids.symmetric_difference(&taken).count(), 0, "the app got others than were taken");
        assert_eq!(got.events.len(), taken.len(), "an event for each request");
        let peak = self.app.peak("/app");
        assert!((1..=IN_FLIGHT).contains(&peak), "{peak} at once");
    }

    /// Whoever was refused comes again, and is taken then.
    fn come_again(&self, fates: &Fates) -> Fates {
        let refused = fates.iter().filter(|(_, fate)| **fate != Some(200)).map(|(n, _)| *n);
        let refused: Vec<usize> = refused.take(50).collect();
        let again = refused.iter().map(|n| {
            let shot: Arc<[Shot]> = [self.shots[*n].clone()].into();
            let status = within(DRAINED_WITHIN, "a request is taken again", || {
                let fate = burst::send(self.daemon.inbound().address(), &shot, 1, &Arc::default())[&0];
                (fate == Some(200)).then_some(fate)
            });
            (*n, status)
        });
        again.collect()
    }
}

fn in_full(name: &str, requests: usize) {
    let scene = Scene::new(requests, "", "", "");
    let fates = scene.surge(name);
    let taken = fates.values().filter(|fate| **fate == Some(200)).count();
    // So many connections never fill the queue of the writer: each has one request in it at most.
    assert_eq!(taken, requests, "some were refused, and there was room");
    scene.drains(&fates);
}

#[test]
fn a_surge_is_taken_in_full_while_the_app_is_slow() {
    in_full("in-full", requests(FEW));
}

#[test]
#[ignore = "fifty thousand requests; tests/run runs it"]
fn a_surge_of_fifty_thousand_is_taken_in_full_while_the_app_is_slow() {
    in_full("in-full-50000", requests(FULL));
}

#[test]
fn the_app_gets_a_surge_at_its_rate_limit() {
    let scene = Scene::new(2_000, "", "", "rate_limit = { rate = \"500/s\", burst = 10 }");
    let fates = scene.surge("rate-limit");
    scene.drains(&fates);
    let got = scene.got.lock().unwrap();
    let took = got.last.unwrap() - got.first.unwrap();
    assert!(took >= Duration::from_millis(3_900), "2000 at 500/s take 3.98 s: {took:?}");
}

fn beyond_the_sources_rate(name: &str, requests: usize) {
    let scene = Scene::new(requests, "rate_limit = { rate = \"200/s\", burst = 500 }", "", "");
    let fates = scene.surge(name);
    let refused = fates.values().filter(|fate| **fate == Some(429)).count();
    assert!(refused > 0 && refused < requests, "{refused} of {requests} are refused");
    scene.drains(&fates);
    let again = scene.come_again(&fates);
    assert_eq!(again.len(), 50.min(refused));
    scene.drains(&fates.into_iter().chain(again).collect());
}

#[test]
fn what_is_beyond_a_sources_rate_is_refused_and_leaves_nothing_behind() {
    beyond_the_sources_rate("source-rate", requests(FEW));
}

#[test]
#[ignore = "fifty thousand requests; tests/run runs it"]
fn what_is_beyond_a_sources_rate_is_refused_and_leaves_nothing_behind_fifty_thousand() {
    beyond_the_sources_rate("source-rate-50000", requests(FULL));
}

#[test]
fn what_finds_no_room_on_the_disk_is_refused_and_leaves_nothing_behind() {
    let (requests, bytes) = (5_000, 40_000);
    let shots = (0..requests).map(|n| Shot::large(format!("d-{n}"), bytes)).collect();
    let storage = "max_size = \"128MiB\"\nretention = \"5s\"\nmin_free = \"0B\"";
    let scene = Scene::of(shots, burst::UNVERIFIED, storage, "");
    scene.open.store(false, Ordering::Relaxed);
    let fates = scene.surge("no-room");
    let refused = fates.values().filter(|fate| **fate == Some(503)).count();
    assert!(refused > 0 && refused < requests, "{refused} of {requests} are refused");
    scene.open.store(true, Ordering::Relaxed);
    scene.drains(&fates);
    let again = scene.come_again(&fates);
    scene.drains(&fates.into_iter().chain(again).collect());
}
