//! Accepts connections, finds each a place or turns it away, and drives it in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::arrival::Arrival;
use super::connection::{Builder, Connection, builder};
use super::connections::Connections;
use super::refusal::{Seldom, turn_away};
use super::tally::AcceptFailed;
use super::{Listener, Origin, Peer, ProxyHeaders, Tls};

/// How long to wait after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener is served with.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Cancelled when the listener shall close.
    pub shutdown: CancellationToken,
    /// Connections are tasks of it.
    pub tracker: TaskTracker,
    /// The places that connections find.
    pub connections: Arc<Connections>,
    /// TLS, where the listener speaks it.
    pub tls: Option<Arc<Tls>>,
    /// Whose connections begin with a PROXY header.
    pub proxies: Arc<ProxyHeaders>,
}

/// Serves a listener until it is told to stop, then stops accepting and returns. `answer` makes an answer of each request; the
/// peer is the one of its connection.
///
/// After `shutdown`, connections that wait for a request are closed, the others once their requests under way are answered.
/// Whoever waits for the tracker decides for how long.
pub async fn serve<A, F>(listener: Listener, answer: A, serving: Serving)
where
    A: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let porch = Porch { builder: Arc::new(builder(&serving.tracker)), serving };
    let shutdown = porch.serving.shutdown.clone();
    let failures = Seldom::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => porch.receive(accepted, &answer),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                AcceptFailed { error: &error, times: failures.happened() }.tell();
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Where connections arrive.
struct Porch {
    builder: Arc<Builder>,
    serving: Serving,
}

impl Porch {
    /// Gives a connection a place and a task, or turns it away.
    fn receive<A, F>(&self, accepted: Accepted, answer: &A)
    where
        A: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Serving { shutdown, tracker, connections, tls, proxies } = &self.serving;
        let origin = accepted.origin();
        let proxied = proxies.expects(origin).then(|| Arc::clone(proxies));
        let seat = if proxied.is_some() { connections.take_for_proxy() } else { connections.take(origin) };
        let seat = match seat {
            Ok(seat) => seat,
            Err(why) => {
                return match &accepted {
                    // An answer in clear text would be noise there.
                    Accepted::Tcp(..) if tls.is_some() => {}
                    Accepted::Tcp(socket, _) => turn_away(socket, why),
                    Accepted::Unix(socket) => turn_away(socket, why),
                };
            }
        };
        let connection = Connection { builder: Arc::clone(&self.builder), shutdown: shutdown.clone(), seat };
        let arrival = Arrival { connection, origin, proxied };
        let answer = answer.clone();
        match accepted {
            Accepted::Tcp(socket, _) => tracker.spawn(arrival.drive_tcp(socket, tls.clone(), answer)),
            Accepted::Unix(socket) => tracker.spawn(arrival.drive_unix(socket, answer)),
        };
    }
}

/// A connection just accepted.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Accepted {
    fn origin(&self) -> Origin {
        match self {
            Self::Tcp(_, from) => Origin::Tcp(*from),
            Self::Unix(socket) => {
                let uid = socket.peer_cred().ok().map(|credentials| credentials.uid());
                Origin::Unix { uid }
            }
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Answers are small and wait for nothing. It fails only where the client has gone, which shows soon.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, from))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Whether the next connection may do better at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
