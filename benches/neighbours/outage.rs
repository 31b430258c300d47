//! An endpoint that is down and comes back.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::sink;
use crate::sequence::Sequence;

/// Connections within this time of the first of them are told as one group.
const GROUP: Duration = Duration::from_millis(200);
/// Most groups that are told.
const GROUPS_MAX: usize = 40;

/// What came to the endpoint. While it is down it accepts each connection and resets it, so that they can be counted.
pub(crate) struct Outage {
    up: AtomicBool,
    answer: Duration,
    sequence: Arc<Sequence>,
    /// When something connected while it was down.
    knocks: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    connections: AtomicUsize,
    connections_max: AtomicUsize,
}

impl Outage {
    /// An endpoint that is down, and takes so long for each answer once it is up.
    pub(crate) fn new(answer: Duration, sequence: Arc<Sequence>) -> Arc<Self> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Self {
            up: AtomicBool::new(false),
            answer,
            sequence,
            knocks: Mutex::new(Vec::new()),
            in_flight: zero(),
            in_flight_max: zero(),
            connections: zero(),
            connections_max: zero(),
        })
    }

    /// Serves until it is dropped.
    pub(crate) fn serve(self: &Arc<Self>, listener: TcpListener) -> JoinSet<()> {
        let outage = Arc::clone(self);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                if !outage.up.load(Ordering::Relaxed) {
                    outage.knocks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                    // With no time to linger, dropping it resets it.
                    let _ = stream.set_zero_linger();
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let outage = Arc::clone(&outage);
                connections.spawn(async move {
                    let open = outage.connections.fetch_add(1, Ordering::Relaxed) + 1;
                    outage.connections_max.fetch_max(open, Ordering::Relaxed);
                    sink::connection(stream, |n| Arc::clone(&outage).take(n)).await;
                    outage.connections.fetch_sub(1, Ordering::Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        serving
    }

    async fn take(self: Arc<Self>, n: usize) {
        let under_way = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.in_flight_max.fetch_max(under_way, Ordering::Relaxed);
        self.sequence.receive(n);
        if !self.answer.is_zero() {
            tokio::time::sleep(self.answer).await;
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// It answers from here on.
    pub(crate) fn comes_back(&self) {
        self.up.store(true, Ordering::Relaxed);
    }

    /// Most requests that were under way at once.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.in_flight_max.load(Ordering::Relaxed)
    }

    /// Most connections that were open at once.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// How often something connected while it was down, and when, in seconds after `begin`.
    pub(crate) fn knocks(&self, begin: Instant) -> (usize, String) {
        let knocks = self.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: Vec<(Instant, usize)> = Vec::new();
        for knock in knocks.iter() {
            match groups.last_mut() {
                Some((first, count)) if knock.duration_since(*first) < GROUP => *count += 1,
                _ => groups.push((*knock, 1)),
            }
        }
        let mut told = String::new();
        for (first, count) in groups.iter().take(GROUPS_MAX) {
            let many = if *count > 1 { format!(" ({count} of them)") } else { String::new() };
            let _ = write!(told, " {:.2}{many}", first.saturating_duration_since(begin).as_secs_f64());
        }
        if groups.len() > GROUPS_MAX {
            told.push_str(" …");
        }
        (knocks.len(), told)
    }
}
