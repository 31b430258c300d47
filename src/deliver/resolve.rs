//! From a URL's host to the addresses to try.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::limits;

/// Resolves names on the runtime's blocking threads, a bounded number at a time.
///
/// A lookup cannot be called off: one whose attempt has given up keeps its permits until the system's resolver
/// returns, so a resolver that hangs never piles up threads.
#[derive(Debug)]
pub(super) struct Resolver {
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// One endpoint's share of the [`Resolver`]: small, so that a name whose servers hang holds up nobody else.
#[derive(Debug)]
pub(super) struct Lookups {
    own: Arc<Semaphore>,
    resolver: Arc<Resolver>,
}

impl Resolver {
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { permits: Arc::new(Semaphore::new(limits::LOOKUPS_MAX)), tasks }
    }

    pub(super) fn for_one_endpoint(self: &Arc<Self>) -> Lookups {
        Lookups { own: Arc::new(Semaphore::new(limits::LOOKUPS_OF_ENDPOINT_MAX)), resolver: Arc::clone(self) }
    }
}

impl Lookups {
    /// The addresses of `host`, in the system resolver's order.
    pub(super) async fn find(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = host.to_owned();
        self.run(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
    }

    async fn run<T: Send + 'static>(&self, lookup: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let own = Arc::clone(&self.own).acquire_owned().await.map_err(io::Error::other)?;
        let permit = Arc::clone(&self.resolver.permits).acquire_owned().await.map_err(io::Error::other)?;
        let done = self.resolver.tasks.spawn_blocking(move || {
            let _held_to_the_end = (own, permit);
            lookup()
        });
        done.await.map_err(io::Error::other)?
    }
}

/// The address that a URL's host spells, brackets or not; `None` for a name. The URL parser has turned every other
/// spelling (`127.1`, `2130706433`, `0x7f.1`, a dot at the end) into the usual one before.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Takes turns between the address families, keeping the resolver's order within each, so that a machine whose IPv6
/// leads nowhere reaches IPv4 with the second dial. At most [`limits::CONNECT_ADDRESSES_MAX`] are kept.
pub(super) fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|at| at.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < limits::CONNECT_ADDRESSES_MAX {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(limits::CONNECT_ADDRESSES_MAX);
    turns
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_name_whose_servers_hang_holds_up_nobody_else() {
        let resolver = Arc::new(Resolver::new(TaskTracker::new()));
        let (hung, healthy) = (resolver.for_one_endpoint(), resolver.for_one_endpoint());
        let mut ends = Vec::new();
        for _ in 0..limits::LOOKUPS_MAX {
            let (end, ended) = mpsc::channel::<()>();
            ends.push(end);
            let lookup = hung.run(move || Ok(ended.recv()));
            // The attempt gives up while its lookup hangs, or waits for its turn.
            assert!(tokio::time::timeout(std::time::Duration::from_millis(1), lookup).await.is_err());
        }
        assert_eq!(resolver.permits.available_permits(), limits::LOOKUPS_MAX - limits::LOOKUPS_OF_ENDPOINT_MAX);
        healthy.find("localhost", 80).await.unwrap();
        drop(ends);
        hung.find("localhost", 80).await.unwrap();
    }

    #[test]
    fn address_families_take_turns() {
        let parse = |text: &[&str]| text.iter().map(|at| at.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["[2::1]:1", "[2::2]:1", "[2::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let turns = parse(&["[2::1]:1", "1.0.0.1:1", "[2::2]:1", "1.0.0.2:1", "[2::3]:1"]);
        assert_eq!(in_turn(given), turns);
        let many = parse(&["1.0.0.1:1"; 20]);
        assert_eq!(in_turn(many).len(), limits::CONNECT_ADDRESSES_MAX);
    }
}
