//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

/// The client of a connection, as far as the socket tells, or a proxy that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub origin: Origin,
    /// Whom the certificate is of that it showed and that was verified, in a short text without control characters; `None`
    /// where it showed none.
    pub certificate: Option<String>,
    /// The proxy that said where it comes from, in a PROXY header; `None`: the socket did.
    pub proxy: Option<Origin>,
    /// Whether it speaks TLS with this listener.
    pub tls: bool,
}

impl Peer {
    /// A client without TLS, as the socket tells.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self { origin, certificate: None, proxy: None, tls: false }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process on this machine, over a unix socket.
    Unix {
        /// The user it runs as, where the system tells (unix(7), `SO_PEERCRED`).
        uid: Option<u32>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { uid: Some(uid) } => write!(f, "unix:uid={uid}"),
            Self::Unix { uid: None } => f.write_str("unix"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, certificate, proxy, tls: _ } = self;
        write!(f, "{origin}")?;
        if let Some(certificate) = certificate {
            write!(f, " ({certificate})")?;
        }
        match proxy {
            Some(proxy) => write!(f, " via {proxy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_its_address_or_its_user() {
        let peer = |origin| Peer::new(origin).to_string();
        assert_eq!(peer(Origin::Tcp("192.0.2.7:5000".parse().unwrap())), "192.0.2.7:5000");
        assert_eq!(peer(Origin::Tcp("[2001:db8::1]:5000".parse().unwrap())), "[2001:db8::1]:5000");
        assert_eq!(peer(Origin::Unix { uid: Some(1000) }), "unix:uid=1000");
        assert_eq!(peer(Origin::Unix { uid: None }), "unix");
        let origin = Origin::Tcp("192.0.2.7:5000".parse().unwrap());
        let mut peer = Peer { certificate: Some("CN=app".to_owned()), ..Peer::new(origin) };
        assert_eq!(peer.to_string(), "192.0.2.7:5000 (CN=app)");
        peer.proxy = Some(Origin::Tcp("10.0.0.2:40000".parse().unwrap()));
        assert_eq!(peer.to_string(), "192.0.2.7:5000 (CN=app) via 10.0.0.2:40000");
    }
}
