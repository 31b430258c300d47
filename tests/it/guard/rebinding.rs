//! Names that lead elsewhere the second time (DNS rebinding): the address that is dialled is the one that was judged, on each
//! connection anew.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::names::NameServer;
use crate::kit::{Answer, Daemon, Receiver, Setup, eventually};

/// The endpoint's place in public, as far as a test may go: the only address that the config allows.
const PUBLIC: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Something else on this machine, on the same port.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Counts who connects to the private address.
struct Trap(Arc<AtomicUsize>);

impl Trap {
    fn set(port: u16) -> Self {
        let listener = TcpListener::bind((PRIVATE, port)).expect("the private address has that port free");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A receiver that ends each connection with its answer, so that every attempt looks the name up and dials.
fn receiver() -> Receiver {
    Receiver::answering(|_| Answer::status(200).header("connection", "close"))
}

fn daemon(names: &NameServer, port: u16) -> Daemon {
    let mut daemon = Setup::new()
        .delivery_alone(&format!("retry = []\nallow_networks = [\"{PUBLIC}/32\"]"))
        .endpoint("app", &format!("http://hook.rebind.test:{port}/"), "breaker = \"off\"")
        .prepare();
    names.be_asked_by(&mut daemon);
    daemon.run();
    daemon
}

#[test]
fn a_name_that_moves_to_a_private_address_is_refused_from_then_on() {
    let Some(names) = NameServer::start(Ipv4Addr::new(127, 0, 0, 77)) else { return };
    let receiver = receiver();
    let port = receiver.address().port();
    let trap = Trap::set(port);
    names.say(&[&[PUBLIC]]);
    let daemon = daemon(&names, port);
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    names.say(&[&[PRIVATE]]);
    let id = daemon.client().event("a", "2");
    let dead = daemon.client().await_state(&id, "app", "dead");
    assert_eq!(dead["attempts"][0]["error"], "address_refused", "{dead}");
    names.say(&[&[PUBLIC]]);
    let id = daemon.client().event("a", "3");
    daemon.client().await_state(&id, "app", "delivered");
    assert_eq!((receiver.count(), trap.count()), (2, 0));
}

#[test]
fn a_name_that_changes_with_every_lookup_never_leads_to_a_private_address() {
    let Some(names) = NameServer::start(Ipv4Addr::new(127, 0, 0, 78)) else { return };
    let receiver = receiver();
    let port = receiver.address().port();
    let trap = Trap::set(port);
    // Judged with one answer and dialled with the next, every second event would arrive at the private address.
    names.say(&[&[PUBLIC], &[PRIVATE], &[PRIVATE, PUBLIC], &[PUBLIC, PRIVATE]]);
    let daemon = daemon(&names, port);
    let ids: Vec<String> = (0..40).map(|n| daemon.client().event("a", &n.to_string())).collect();
    let mut refused = 0;
    for id in &ids {
        let state = eventually("the delivery has ended", || {
            Some(daemon.client().state(id, "app")).filter(|state| state != "pending")
        });
        let delivery = daemon.client().await_state(id, "app", &state);
        if state == "dead" {
            assert_eq!(delivery["attempts"][0]["error"], "address_refused", "{delivery}");
            refused += 1;
        }
    }
    assert_eq!(receiver.count() + refused, ids.len());
    assert!(refused > 0 && receiver.count() > refused, "{refused} refused, {} received", receiver.count());
    assert_eq!(trap.count(), 0, "connections to the private address");
}
