//! Who at a listener speaks the PROXY protocol, and how its headers are read.
//!
//! A connection from one of these networks begins with a header, which names the client, and any other does not. Neither is
//! guessed at: where a proxy sends none, or a broken one, it is hung up on, and what others send that looks like one is bad HTTP or
//! bad TLS. So the config alone says whose word counts.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::Origin;
use super::proxy_header::{Fault, Header, Seen, look};
use super::refusal::Seldom;
use super::tally::ProxyHeaderRefused;
use crate::config::Proxies;
use crate::limits;
use crate::observe::Metrics;

const LIMIT: Duration = Duration::from_millis(limits::PROXY_HEADER_MS_MAX);

/// The proxies of one listener.
#[derive(Debug)]
pub struct ProxyHeaders {
    /// The listener's table in the config.
    listener: &'static str,
    proxies: RwLock<Proxies>,
    told: Seldom,
    metrics: Arc<Metrics>,
}

/// Why a proxy was hung up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// It took too long.
    Timeout,
    /// It went away.
    Closed,
    /// What came is none.
    Faulty(Fault),
}

impl NoHeader {
    /// Every reason there is.
    const ALL: [Self; 5] = [
        Self::Timeout,
        Self::Closed,
        Self::Faulty(Fault::Missing),
        Self::Faulty(Fault::Malformed),
        Self::Faulty(Fault::TooLong),
    ];

    /// Its word: the label of the metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Faulty(Fault::Missing) => "missing",
            Self::Faulty(Fault::Malformed) => "malformed",
            Self::Faulty(Fault::TooLong) => "too_long",
        }
    }
}

impl ProxyHeaders {
    /// Those of the listener of the table `listener`.
    #[must_use]
    pub fn new(listener: &'static str, proxies: Proxies, metrics: Arc<Metrics>) -> Arc<Self> {
        // All are there before the first, so that an alert can see the step.
        for reason in NoHeader::ALL {
            metrics.proxy_headers_refused.with_label_values(&[listener, reason.word()]);
        }
        Arc::new(Self { listener, proxies: RwLock::new(proxies), told: Seldom::default(), metrics })
    }

    /// Judges the connections that come from now on by other proxies.
    pub fn adopt(&self, proxies: Proxies) {
        *self.proxies.write().unwrap_or_else(PoisonError::into_inner) = proxies;
    }

    /// Whether a connection from there begins with a header.
    pub(super) fn expects(&self, origin: Origin) -> bool {
        let address = match origin {
            Origin::Tcp(address) => Some(address.ip()),
            Origin::Unix { .. } => None,
        };
        self.proxies.read().unwrap_or_else(PoisonError::into_inner).trusts(address)
    }

    /// Reads the header that a connection begins with, which was accepted when it had `begun`, and not a byte more; `None` where
    /// none comes in time, which was told.
    pub(super) async fn read<S>(&self, socket: &mut S, from: Origin, begun: Instant) -> Option<Header>
    where
        S: AsyncRead + Unpin,
    {
        let outcome = timeout_at(begun + LIMIT, read(socket)).await.unwrap_or(Err(NoHeader::Timeout));
        let tell = |reason| {
            ProxyHeaderRefused { listener: self.listener, from, reason, times: self.told.happened() }
                .tell(&self.metrics);
        };
        outcome.map_err(tell).ok()
    }
}

async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Header, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        match look(&bytes).map_err(NoHeader::Faulty)? {
            Seen::Whole(header) => return Ok(header),
            Seen::More(more) => match read_some(socket, more, &mut bytes).await {
                Ok(0) | Err(_) => return Err(NoHeader::Closed),
                Ok(_) => {}
            },
        }
    }
}

/// Reads what has come, at most so many bytes.
async fn read_some<S: AsyncRead + Unpin>(socket: &mut S, max: usize, bytes: &mut Vec<u8>) -> io::Result<usize> {
    socket.take(max as u64).read_buf(bytes).await
}

#[cfg(test)]
mod tests;
