//! A connection to an endpoint: name, address, guard, TCP, TLS, within one time limit.
//!
//! The connector belongs to one endpoint and knows its rules. It reads no `*_PROXY` variables. Each failure is a type
//! that names its step, so that the attempt can say `dns`, `connect`, `tls` or `address_refused` without reading a
//! message.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::{Guard, Refusal};
use super::resolve::{Lookups, in_turn, literal};
use super::stream::Stream;
use super::tls::TlsSettings;
use crate::clock::{MonoMs, SharedClock};
use crate::limits;
use crate::model::attempt::AttemptError;

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    #[error("{host} does not resolve")]
    Dns { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    /// Every address was refused; this is what was said of the first.
    #[error("no address of {host} may be dialled")]
    Refused { host: String, source: Refusal },
    #[error("no connection to {at}")]
    Tcp { at: SocketAddr, source: io::Error },
    #[error("the TLS handshake with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("TLS could not be set up")]
    TlsSettings { source: rustls::Error },
    #[error("{step} took longer than {} ms", limits::CONNECT_MS_MAX)]
    TooLong { step: Step },
}

/// A step on the way to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name,
    Dial,
    Handshake,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "resolving the name",
            Self::Dial => "connecting",
            Self::Handshake => "the TLS handshake",
        })
    }
}

impl ConnectError {
    /// The word for the attempt. A step that runs out of the connection's time keeps its own word: an operator learns
    /// more from `dns` or `connect` than from `timeout`, which means an endpoint that was reached and did not answer.
    pub(super) fn word(&self) -> AttemptError {
        match self {
            Self::Dns { .. } | Self::NoAddress { .. } | Self::TooLong { step: Step::Name } => AttemptError::Dns,
            Self::Refused { .. } => AttemptError::AddressRefused,
            Self::Tcp { .. } | Self::TooLong { step: Step::Dial } => AttemptError::Connect,
            Self::Tls { .. } | Self::TlsSettings { .. } | Self::TooLong { step: Step::Handshake } => AttemptError::Tls,
        }
    }
}

/// Makes connections to one endpoint. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    guard: Guard,
    tls: TlsSettings,
    lookups: Lookups,
    clock: SharedClock,
}

impl Connector {
    pub(super) fn new(guard: Guard, tls: TlsSettings, lookups: Lookups, clock: SharedClock) -> Self {
        Self(Arc::new(Rules { guard, tls, lookups, clock }))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let rules = Arc::clone(&self.0);
        Box::pin(async move { rules.connect(&to).await })
    }
}

impl Rules {
    async fn connect(&self, to: &Uri) -> Result<Stream, ConnectError> {
        let deadline = self.clock.mono().plus_ms(limits::CONNECT_MS_MAX);
        let secure = to.scheme_str() == Some("https");
        let host = to.host().unwrap_or_default();
        let port = to.port_u16().unwrap_or(if secure { 443 } else { 80 });

        let addresses = self.addresses(host, port, deadline).await?;
        let tcp = self.within(deadline, Step::Dial, self.dial_in_turn(host, &addresses)).await?;
        if secure {
            self.within(deadline, Step::Handshake, self.handshake(host, tcp)).await
        } else {
            Ok(Stream::plain(tcp))
        }
    }

    /// The addresses of `host` that may be dialled, in the order to try them.
    async fn addresses(&self, host: &str, port: u16, deadline: MonoMs) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = match literal(host) {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => {
                let lookup = async {
                    let found = self.lookups.find(host, port).await;
                    found.map_err(|source| ConnectError::Dns { host: host.to_owned(), source })
                };
                self.within(deadline, Step::Name, lookup).await?
            }
        };
        let mut allowed = Vec::with_capacity(found.len());
        let mut refusal = None;
        for at in found {
            match self.guard.judge(at) {
                Ok(()) => allowed.push(at),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match (allowed.is_empty(), refusal) {
            (false, _) => Ok(in_turn(allowed)),
            (true, Some(source)) => Err(ConnectError::Refused { host: host.to_owned(), source }),
            (true, None) => Err(ConnectError::NoAddress { host: host.to_owned() }),
        }
    }

    /// Dials the addresses in turn and keeps the first connection: the next one starts when one has failed or after
    /// [`limits::CONNECT_STAGGER_MS`], so that a dead address does not eat the whole time (RFC 8305, in little).
    async fn dial_in_turn(&self, host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let mut rest = addresses.iter();
        let mut dials = Vec::with_capacity(addresses.len());
        let mut first_error = None;
        loop {
            let next = rest.next();
            if let Some(at) = next {
                dials.push(Box::pin(self.dial(host, *at)));
            }
            let stagger = next.is_some() && !rest.as_slice().is_empty();
            tokio::select! {
                biased;
                done = first_done(&mut dials), if !dials.is_empty() => match done {
                    Ok(stream) => return Ok(stream),
                    Err(error) => first_error = first_error.or(Some(error)),
                },
                () = self.clock.sleep_until(self.clock.mono().plus_ms(limits::CONNECT_STAGGER_MS)), if stagger => {}
                else => return Err(first_error.unwrap_or_else(|| ConnectError::NoAddress { host: host.to_owned() })),
            }
        }
    }

    async fn dial(&self, host: &str, at: SocketAddr) -> Result<TcpStream, ConnectError> {
        let failed = |source| ConnectError::Tcp { at, source };
        let stream = TcpStream::connect(at).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (local, peer) = (stream.local_addr().map_err(failed)?, stream.peer_addr().map_err(failed)?);
        self.guard
            .judge_connected(local, peer)
            .map_err(|source| ConnectError::Refused { host: host.to_owned(), source })?;
        if local == peer {
            // A dial to an ephemeral port of this machine where nobody listens can meet itself (TCP's simultaneous
            // open), and would then keep the port from the endpoint that is about to come back.
            return Err(failed(io::ErrorKind::ConnectionRefused.into()));
        }
        Ok(stream)
    }

    async fn handshake(&self, host: &str, tcp: TcpStream) -> Result<Stream, ConnectError> {
        let settings = self.tls.get().await.map_err(|source| ConnectError::TlsSettings { source })?;
        let failed = |source| ConnectError::Tls { host: host.to_owned(), source };
        let name = certificate_name(host).map_err(|error| failed(io::Error::other(error)))?;
        TlsConnector::from(settings).connect(name, tcp).await.map(Stream::tls).map_err(failed)
    }

    async fn within<T>(
        &self,
        deadline: MonoMs,
        step: Step,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep_until(deadline) => Err(ConnectError::TooLong { step }),
        }
    }
}

/// What the certificate has to name: the address, or the host without the dot that makes a name absolute.
fn certificate_name(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match literal(host) {
        Some(ip) => Ok(ServerName::from(ip)),
        None => ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()),
    }
}

/// The outcome of whichever of `dials` ends first, which is taken out. Pending while there is none.
async fn first_done<T>(dials: &mut Vec<Pin<Box<impl Future<Output = T>>>>) -> T {
    poll_fn(|cx| {
        for index in 0..dials.len() {
            if let Poll::Ready(done) = dials[index].as_mut().poll(cx) {
                drop(dials.swap_remove(index));
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;
    use tower_service::Service;

    use super::*;
    use crate::clock::{ManualClock, ManualHandle, SystemClock, UnixMs};
    use crate::deliver::guard::OwnListeners;
    use crate::deliver::resolve::Resolver;
    use crate::deliver::tls::SharedTls;

    fn rules(allow: &[&str], own: &[SocketAddr]) -> Rules {
        let allow: Vec<ipnet::IpNet> = allow.iter().map(|net| net.parse().unwrap()).collect();
        let own: OwnListeners = own.iter().copied().collect();
        let tasks = TaskTracker::new();
        Rules {
            guard: Guard::new(&allow, own),
            tls: TlsSettings::new(&Arc::new(SharedTls::new(tasks.clone())), None).unwrap(),
            lookups: Arc::new(Resolver::new(tasks)).for_one_endpoint(),
            clock: SystemClock::shared(),
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    /// An address of this machine where a dial neither succeeds nor fails: its listener's queue is full. The queue
    /// lasts as long as what comes with it.
    async fn deaf() -> ((std::net::TcpListener, Vec<TcpStream>), SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap().into_std().unwrap();
        let at = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let patience = std::time::Duration::from_millis(100);
        while let Ok(connected) = tokio::time::timeout(patience, TcpStream::connect(at)).await {
            waiting.push(connected.unwrap());
        }
        ((listener, waiting), at)
    }

    fn standing_still(rules: Rules) -> (Rules, Arc<ManualClock>) {
        let clock = ManualClock::at(UnixMs(0));
        (Rules { clock: Arc::new(ManualHandle(Arc::clone(&clock))), ..rules }, clock)
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_eat_the_whole_time() {
        let rules = rules(&["127.0.0.0/8"], &[]);
        let (_full, deaf) = deaf().await;
        let (_listener, alive) = listener().await;
        let begun = std::time::Instant::now();
        let stream = rules.dial_in_turn("two.test", &[deaf, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert!(stream.nodelay().unwrap());
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
        assert!((limits::CONNECT_STAGGER_MS..limits::CONNECT_MS_MAX / 2).contains(&ms), "{ms} ms");
    }

    #[tokio::test]
    async fn an_address_that_fails_hands_over_at_once() {
        // On a clock that stands still, whoever waited for the stagger would wait for ever.
        let (rules, _clock) = standing_still(rules(&["127.0.0.0/8"], &[]));
        let (gone, closed) = listener().await;
        drop(gone);
        let (_listener, alive) = listener().await;
        let stream = rules.dial_in_turn("two.test", &[closed, closed, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn when_every_address_fails_the_first_failure_is_told() {
        let rules = rules(&["127.0.0.0/8"], &[]);
        let (gone, closed) = listener().await;
        drop(gone);
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), closed.port());
        let error = rules.dial_in_turn("two.test", &[closed, other]).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tcp { at, .. } if at == closed), "{error:?}");
        assert_eq!(error.word(), AttemptError::Connect);
    }

    #[tokio::test]
    async fn connecting_ends_with_its_time_limit() {
        let (rules, clock) = standing_still(rules(&["127.0.0.0/8"], &[]));
        let (_full, deaf) = deaf().await;
        let uri: Uri = format!("http://{deaf}/").parse().unwrap();
        let connecting = rules.connect(&uri);
        tokio::pin!(connecting);
        tokio::select! {
            biased;
            done = connecting.as_mut() => panic!("{:?}", done.map(|_| ())),
            () = tokio::task::yield_now() => clock.advance_ms(limits::CONNECT_MS_MAX),
        }
        let error = connecting.await.map(|_| ()).unwrap_err();
        assert!(matches!(error, ConnectError::TooLong { step: Step::Dial }), "{error:?}");
        assert_eq!(error.word(), AttemptError::Connect);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_and_an_allowed_one_dialled() {
        let (_listener, at) = listener().await;
        let uri: Uri = format!("http://localhost:{}/", at.port()).parse().unwrap();
        let error = rules(&[], &[]).connect(&uri).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
        assert_eq!(error.word(), AttemptError::AddressRefused);
        let mut open = Connector(Arc::new(rules(&["127.0.0.0/8"], &[])));
        open.call(uri).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_allowed_addresses_of_a_name_are_dialled() {
        let open = rules(&["127.0.0.1/32"], &[]);
        let allowed = open.addresses("localhost", 80, MonoMs(u64::MAX)).await.unwrap();
        assert_eq!(allowed, ["127.0.0.1:80".parse().unwrap()], "::1, where localhost has it, is left out");
    }

    #[tokio::test]
    async fn a_listener_of_our_own_is_never_dialled() {
        let (_listener, at) = listener().await;
        let everywhere = ["0.0.0.0/0", "::/0"];
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            let uri: Uri = format!("http://{host}:{}/", at.port()).parse().unwrap();
            let error = rules(&everywhere, &[at]).connect(&uri).await.map(|_| ()).unwrap_err();
            assert_eq!(error.word(), AttemptError::AddressRefused, "{host}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_wildcard_listener_of_our_own_is_hung_up_on_before_a_byte() {
        use tokio::io::AsyncReadExt;
        let (listener, at) = listener().await;
        let wildcard = SocketAddr::new("0.0.0.0".parse().unwrap(), at.port());
        // Past the first judgement, as for a local address that nobody can tell by its looks.
        let error = rules(&["0.0.0.0/0"], &[wildcard]).dial("self.test", at).await.unwrap_err();
        assert_eq!(error.word(), AttemptError::AddressRefused, "{error:?}");
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_a_dns_failure() {
        let uri: Uri = "http://nowhere.invalid/".parse().unwrap();
        let error = rules(&[], &[]).connect(&uri).await.map(|_| ()).unwrap_err();
        assert_eq!(error.word(), AttemptError::Dns, "{error:?}");
    }

    #[test]
    fn a_certificate_names_the_host_without_dot_and_brackets() {
        for (host, name) in [("a.test", "a.test"), ("a.test.", "a.test"), ("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")]
        {
            assert_eq!(certificate_name(host).unwrap(), ServerName::try_from(name).unwrap(), "{host}");
        }
        assert!(certificate_name("a b").is_err());
    }
}
