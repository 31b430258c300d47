//! The places for connections of one listener: in all, and from one address.
//!
//! An address is what one client can have many connections from: an IPv4 address, or the /64 of an IPv6 one, which is the least
//! that anybody is given. Programs on this machine (loopback addresses, unix sockets) are not counted by address: they are the
//! machine's own, and a proxy among them speaks for many clients. A proxy that names its clients (`proxies`) has the connections
//! of each counted as that client's.
//!
//! Who finds no place is turned away at once instead of waiting in the listen queue, where honest clients would wait behind
//! those who only want to fill it. Before it comes to that, connections that nobody uses give up theirs: first those that have never
//! asked for anything, then those that have been idle for longest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Origin;
use super::pulse::{Over, Pulse};
use super::refusal::{Refused, Seldom};
use super::tally::{ConnectionCut, ConnectionsRefused};
use crate::limits;
use crate::observe::Metrics;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// In all.
    pub all: usize,
    /// For one address.
    pub per_address: usize,
}

/// The connections of a listener.
#[derive(Debug)]
pub struct Connections {
    /// The listener's table in the config: `api`, `inbound`.
    listener: &'static str,
    all_max: AtomicUsize,
    per_address_max: AtomicUsize,
    taken: Mutex<Taken>,
    refused: Seldom,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Taken {
    pulses: HashMap<u64, Arc<Pulse>>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
    swept: Option<Instant>,
}

impl Connections {
    /// No place is taken. `listener` is the table of the config that the listener stands in.
    #[must_use]
    pub fn new(listener: &'static str, places: Places, metrics: Arc<Metrics>) -> Arc<Self> {
        // All are there before the first, so that an alert can see the step.
        for reason in Refused::WORDS {
            metrics.connections_refused.with_label_values(&[listener, reason]);
        }
        for over in Over::ALL {
            metrics.connections_cut.with_label_values(&[listener, over.word()]);
        }
        metrics.connections.with_label_values(&[listener]).set(0);
        Arc::new(Self {
            listener,
            all_max: AtomicUsize::new(places.all),
            per_address_max: AtomicUsize::new(places.per_address),
            taken: Mutex::default(),
            refused: Seldom::default(),
            metrics,
        })
    }

    /// Changes how many places there are. Who has one keeps it.
    pub fn set_places(&self, places: Places) {
        self.all_max.store(places.all, Ordering::Relaxed);
        self.per_address_max.store(places.per_address, Ordering::Relaxed);
    }

    /// How many places there are.
    #[must_use]
    pub fn places(&self) -> Places {
        Places { all: self.all_max.load(Ordering::Relaxed), per_address: self.per_address_max.load(Ordering::Relaxed) }
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().pulses.len()
    }

    /// Takes a place for a new connection.
    pub(super) fn take(self: &Arc<Self>, origin: Origin) -> Result<Seat, Refused> {
        self.seat(counted(origin))
    }

    /// Takes a place for a new connection of a proxy. Whose it is shows later: [`Seat::is_of`].
    pub(super) fn take_for_proxy(self: &Arc<Self>) -> Result<Seat, Refused> {
        self.seat(None)
    }

    fn seat(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Refused> {
        let Places { all, per_address } = self.places();
        let mut taken = self.lock();
        let count = taken.pulses.len();
        if count >= short_from(all) {
            taken.sweep(count + 1 - short_from(all));
        }
        let outcome = if count >= all {
            Err(Refused::Full)
        } else {
            match address {
                Some(address) => taken.enter(address, per_address),
                None => Ok(()),
            }
        };
        if let Err(refused) = outcome {
            drop(taken);
            self.tell_refused(refused);
            return Err(refused);
        }
        taken.next += 1;
        let (number, pulse) = (taken.next, Arc::new(Pulse::new()));
        taken.pulses.insert(number, Arc::clone(&pulse));
        drop(taken);
        self.metrics.connections.with_label_values(&[self.listener]).inc();
        Ok(Seat { of: Arc::clone(self), pulse, number, address })
    }

    fn tell_refused(&self, why: Refused) {
        ConnectionsRefused { listener: self.listener, why, times: self.refused.happened() }.tell(&self.metrics);
    }

    /// Nothing in here can be left half done.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn enter(&mut self, address: IpAddr, max: usize) -> Result<(), Refused> {
        let count = self.by_address.entry(address).or_insert(0);
        if *count >= max {
            return Err(Refused::Address(address));
        }
        *count += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Asks connections that are not used for their places, as many as are wanted: first those that have never asked for
    /// anything, then those that have been idle for longest. Looking at all of them takes a while, so it is done now and then.
    fn sweep(&mut self, wanted: usize) {
        let between = Duration::from_millis(limits::SWEEP_MS);
        if self.swept.is_some_and(|at| at.elapsed() < between) {
            return;
        }
        self.swept = Some(Instant::now());
        let unused = Duration::from_millis(limits::IDLE_WHEN_SHORT_MS_MAX);
        let long_unused = |pulse: &Pulse| pulse.unused().filter(|(_, since)| since.elapsed() >= unused);
        let mut order: Vec<_> =
            self.pulses.values().filter_map(|pulse| long_unused(pulse).map(|unused| (unused, pulse))).collect();
        order.sort_unstable_by_key(|(unused, _)| *unused);
        for (_, pulse) in order.into_iter().take(wanted) {
            pulse.want_place();
        }
    }
}

/// From how many on places are short.
fn short_from(all: usize) -> usize {
    all.saturating_sub(all / limits::PLACES_SPARE_SHARE).max(1)
}

/// What a connection is counted by; `None`: it is a program of this machine.
fn counted(origin: Origin) -> Option<IpAddr> {
    let Origin::Tcp(address) = origin else { return None };
    match address.ip().to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
        }
        ip => Some(ip),
    }
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: Arc<Connections>,
    pulse: Arc<Pulse>,
    number: u64,
    address: Option<IpAddr>,
}

impl Seat {
    /// The pulse of the connection that has it.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Counts the connection as this client's, which it turned out to be of.
    pub(super) fn is_of(&mut self, client: Origin) -> Result<(), Refused> {
        debug_assert!(self.address.is_none(), "a connection is of one client");
        let Some(address) = counted(client) else { return Ok(()) };
        let per_address = self.of.places().per_address;
        let outcome = self.of.lock().enter(address, per_address);
        match outcome {
            Ok(()) => self.address = Some(address),
            Err(refused) => self.of.tell_refused(refused),
        }
        outcome
    }

    /// Tells that the connection is closed before its client closes it.
    pub(super) fn tell_cut(&self, why: Over) {
        ConnectionCut { listener: self.of.listener, why }.tell(&self.of.metrics);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        taken.pulses.remove(&self.number);
        if let Some(address) = self.address {
            taken.leave(address);
        }
        drop(taken);
        self.of.metrics.connections.with_label_values(&[self.of.listener]).dec();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn connections(all: usize, per_address: usize) -> Arc<Connections> {
        Connections::new("api", Places { all, per_address }, Metrics::shared())
    }

    fn from(address: &str) -> Origin {
        Origin::Tcp(address.parse().unwrap())
    }

    #[tokio::test]
    async fn places_are_given_back_by_whoever_leaves() {
        let connections = connections(2, 2);
        let unix = Origin::Unix { uid: None };
        let (one, _two) = (connections.take(unix).unwrap(), connections.take(unix).unwrap());
        assert_eq!(connections.take(unix).unwrap_err(), Refused::Full);
        assert_eq!(connections.metrics.connections.with_label_values(&["api"]).get(), 2);
        drop(one);
        let _three = connections.take(unix).unwrap();
        let refused = connections.metrics.connections_refused.with_label_values(&["api", "max_connections"]);
        assert_eq!((refused.get(), connections.taken()), (1, 2));
    }

    #[tokio::test]
    async fn an_address_is_one_of_version_4_or_a_64_of_version_6() {
        for (first, same, other) in [
            ("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:2", "[::ffff:192.0.2.2]:2"),
            ("[2001:db8::1]:1", "[2001:db8:0:0:ffff:ffff:ffff:ffff]:1", "[2001:db8:0:1::1]:1"),
        ] {
            let connections = connections(100, 1);
            let seat = connections.take(from(first)).unwrap();
            assert!(matches!(connections.take(from(same)), Err(Refused::Address(_))), "{same}");
            let _other = connections.take(from(other)).unwrap();
            drop(seat);
            let _again = connections.take(from(same)).unwrap();
        }
        let left = connections(100, 1);
        drop(left.take(from("192.0.2.1:1")).unwrap());
        assert!(left.lock().by_address.is_empty(), "nothing is kept of who has left");
    }

    #[tokio::test]
    async fn programs_of_this_machine_count_in_all_only() {
        let connections = connections(5, 1);
        let own = [from("127.0.0.1:1"), from("127.9.9.9:1"), from("[::1]:1"), from("[::ffff:127.0.0.1]:1")];
        let mut seats = Vec::new();
        for origin in own.into_iter().chain([Origin::Unix { uid: Some(0) }]) {
            seats.push(connections.take(origin).unwrap());
        }
        assert_eq!(connections.take(own[0]).unwrap_err(), Refused::Full);
    }

    #[tokio::test]
    async fn a_connection_through_a_proxy_counts_as_its_clients_and_in_all_from_the_start() {
        let connections = connections(4, 1);
        let mut seats: Vec<_> = (0..4).map(|_| connections.take_for_proxy().unwrap()).collect();
        assert_eq!(connections.take_for_proxy().unwrap_err(), Refused::Full);
        seats[0].is_of(from("192.0.2.1:1")).unwrap();
        assert!(matches!(seats[1].is_of(from("192.0.2.1:2")), Err(Refused::Address(_))));
        seats[2].is_of(from("192.0.2.2:1")).unwrap();
        seats[3].is_of(from("127.0.0.1:1")).unwrap();
        drop(seats.remove(1));
        assert!(matches!(connections.take(from("192.0.2.1:3")), Err(Refused::Address(_))));
        drop(seats.remove(0));
        let _direct = connections.take(from("192.0.2.1:3")).unwrap();
        drop((seats, _direct));
        assert!(connections.lock().by_address.is_empty(), "nothing is kept of who has left");
    }

    #[tokio::test(start_paused = true)]
    async fn where_places_are_short_the_unused_give_theirs_the_never_used_and_the_oldest_first() {
        let connections = connections(20, 20);
        let unix = Origin::Unix { uid: None };
        let mut seats = Vec::new();
        for _ in 0..18 {
            seats.push(connections.take(unix).unwrap());
            advance(Duration::from_millis(100)).await;
        }
        // The very oldest is being used, and the one after it has been.
        seats[0].pulse().request_begins();
        seats[1].pulse().request_begins();
        seats[1].pulse().request_ends();
        advance(Duration::from_millis(limits::IDLE_WHEN_SHORT_MS_MAX)).await;
        let _nineteenth = connections.take(unix).unwrap();
        let wanted = |seat: &Seat| {
            let pulse = Arc::clone(seat.pulse());
            async move { timeout(Duration::from_millis(1), pulse.place_wanted()).await.is_ok() }
        };
        assert!(!wanted(&seats[0]).await);
        assert!(wanted(&seats[2]).await);
        assert!(!wanted(&seats[3]).await, "no more than are needed");
        // Two are above what shall be taken by now.
        advance(Duration::from_millis(limits::SWEEP_MS)).await;
        let _twentieth = connections.take(unix).unwrap();
        assert!(wanted(&seats[3]).await && wanted(&seats[4]).await);
        assert!(!wanted(&seats[5]).await && !wanted(&seats[1]).await);
    }

    #[tokio::test]
    async fn other_places_count_for_whoever_comes_next() {
        let connections = connections(1, 1);
        let _seat = connections.take(from("192.0.2.1:1")).unwrap();
        connections.set_places(Places { all: 3, per_address: 2 });
        let _second = connections.take(from("192.0.2.1:1")).unwrap();
        assert!(matches!(connections.take(from("192.0.2.1:1")), Err(Refused::Address(_))));
        connections.set_places(Places { all: 1, per_address: 2 });
        assert_eq!(connections.take(from("192.0.2.2:1")).unwrap_err(), Refused::Full);
        assert_eq!(connections.taken(), 2, "who has a place keeps it");
    }
}
