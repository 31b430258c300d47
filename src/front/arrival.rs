//! What stands before HTTP on a connection: the header of a proxy, where the connection comes through one, and then the TLS
//! handshake, where the listener speaks TLS. The connection has its place by then, and may be asked for it.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};

use super::answer::Answer;
use super::connection::Connection;
use super::proxies::ProxyHeaders;
use super::proxy_header::Header;
use super::pulse::Over;
use super::refusal::{TryWrite, turn_away};
use super::tls::Welcomed;
use super::{Origin, Peer, Tls};

/// A connection that has just come.
pub(super) struct Arrival {
    pub(super) connection: Connection,
    /// Where the socket comes from.
    pub(super) origin: Origin,
    /// It comes from a proxy, and begins with a header of these.
    pub(super) proxied: Option<Arc<ProxyHeaders>>,
}

impl Arrival {
    /// Drives a TCP connection to its end.
    pub(super) async fn drive_tcp<A, F>(mut self, mut socket: TcpStream, tls: Option<Arc<Tls>>, answer: A)
    where
        A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Some(peer) = self.meet(&mut socket, tls.is_some()).await else { return };
        let Some(tls) = tls else { return self.connection.drive(socket, peer, answer).await };
        let begun = self.connection.seat.pulse().begun();
        if let Some(welcomed) = self.unless_unwanted(tls.welcome(socket, &peer, begun)).await.flatten() {
            let Welcomed { stream, certificate } = welcomed;
            self.connection.drive(stream, Peer { certificate, tls: true, ..peer }, answer).await;
        }
    }

    /// Drives a connection over a unix socket to its end. There is no TLS there.
    pub(super) async fn drive_unix<A, F>(mut self, mut socket: UnixStream, answer: A)
    where
        A: Fn(Arc<Peer>, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        if let Some(peer) = self.meet(&mut socket, false).await {
            self.connection.drive(socket, peer, answer).await;
        }
    }

    /// Finds out who is at the other end; `None` where it is to be hung up on.
    async fn meet<S>(&mut self, socket: &mut S, tls: bool) -> Option<Peer>
    where
        S: AsyncRead + TryWrite + Unpin,
    {
        let Some(proxied) = self.proxied.clone() else { return Some(Peer::new(self.origin)) };
        let begun = self.connection.seat.pulse().begun();
        match self.unless_unwanted(proxied.read(socket, self.origin, begun)).await.flatten()? {
            Header::Own => Some(Peer::new(self.origin)),
            Header::Client(address) => {
                let client = Origin::Tcp(address);
                if let Err(why) = self.connection.seat.is_of(client) {
                    // An answer in clear text would be noise where TLS is spoken.
                    if !tls {
                        turn_away(socket, why);
                    }
                    return None;
                }
                Some(Peer { proxy: Some(self.origin), ..Peer::new(client) })
            }
        }
    }

    /// Waits for what is to be done before HTTP; `None` where the listener closes or the place is wanted for others meanwhile.
    async fn unless_unwanted<T>(&self, done: impl Future<Output = T>) -> Option<T> {
        let Connection { shutdown, seat, .. } = &self.connection;
        tokio::select! {
            () = shutdown.cancelled() => None,
            () = seat.pulse().place_wanted() => {
                seat.tell_cut(Over::Shortage);
                None
            }
            done = done => Some(done),
        }
    }
}
