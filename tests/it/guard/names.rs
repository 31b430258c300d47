//! A name server (RFC 1035) that says of every name what it was told to say, and a daemon whose system asks it.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kit::Daemon;

/// Where a resolver asks, for nothing else can be written in resolv.conf(5).
const PORT: u16 = 53;
const TYPE_A: u16 = 1;
const HEADER_BYTES: usize = 12;

/// Answers queries for IPv4 addresses until it is dropped, each with a time to live of zero. It has no others.
pub(super) struct NameServer {
    at: Ipv4Addr,
    says: Arc<Mutex<Says>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Lists of addresses, each for one query in turn.
type Says = Vec<Vec<Ipv4Addr>>;

impl NameServer {
    /// One on a loopback address of its own. It takes root; where that is missing it says so, and the test is left out.
    pub(super) fn start(at: Ipv4Addr) -> Option<Self> {
        let socket = match UdpSocket::bind((at, PORT)) {
            Ok(socket) => socket,
            Err(why) => {
                println!("LEFT OUT: a name server cannot listen on {at}:{PORT} here ({why}); run the tests as root");
                return None;
            }
        };
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let (says, stop) = (Arc::new(Mutex::new(Says::new())), Arc::new(AtomicBool::new(false)));
        let (told, stopped) = (Arc::clone(&says), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&socket, &told, &stopped));
        Some(Self { at, says, stop, thread: Some(thread) })
    }

    /// What it says from now on: these addresses to one query, those to the next, and again from the first.
    pub(super) fn say(&self, turns: &[&[Ipv4Addr]]) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = turns.iter().map(|turn| turn.to_vec()).collect();
    }

    /// Has the daemon's process, and nothing else on this machine, ask this server alone.
    pub(super) fn be_asked_by(&self, daemon: &mut Daemon) {
        let file = daemon.dir().join("resolv.conf");
        std::fs::write(&file, format!("nameserver {}\noptions timeout:2 attempts:2\n", self.at)).expect("a file");
        let mount = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
        daemon.start_under(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, says: &Mutex<Says>, stop: &AtomicBool) {
    let mut query = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut query) else { continue };
        if let Some(answer) = answer(&query[..len], says) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &[u8], says: &Mutex<Says>) -> Option<Vec<u8>> {
    let name_bytes = query.get(HEADER_BYTES..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER_BYTES..HEADER_BYTES + name_bytes + 4)?;
    let asked = u16::from_be_bytes([question[name_bytes], question[name_bytes + 1]]);
    let addresses = if asked == TYPE_A {
        let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = says.first().cloned()?;
        says.rotate_left(1);
        turn
    } else {
        Vec::new()
    };
    let count = u16::try_from(addresses.len()).ok()?;
    // The id; a response, with authority, recursion as wished; one question, so many answers, nothing further.
    let mut answer = query[..2].to_vec();
    answer.extend([0x85, 0x80, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, class IN, to be kept for no time.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
