//! The byte stream under a connection: TCP, with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to an endpoint, as hyper takes it.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    /// Boxed: a TLS session is many times the size of a socket.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>, TlsFault),
}

/// Whether a connection failed in TLS after its handshake. With TLS 1.3 a server judges the client's certificate only
/// then, and HTTP/2 hands on no more of an error than its text.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFault(Arc<AtomicBool>);

impl TlsFault {
    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            self.0.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Whether the connection that `info` belongs to has failed so.
    pub(super) fn of(info: &Connected) -> bool {
        let mut extras = Extensions::new();
        info.get_extras(&mut extras);
        extras.get::<Self>().is_some_and(|fault| fault.0.load(Ordering::Relaxed))
    }
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self::Plain(TokioIo::new(tcp))
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(TokioIo::new(tls)), TlsFault::default())
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Tls(tls, fault) => {
                let connected = Connected::new().extra(fault.clone());
                let h2 = tls.inner().get_ref().1.alpn_protocol() == Some(b"h2");
                if h2 { connected.negotiated_h2() } else { connected }
            }
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io, fault) => fault.note(Pin::new(io.as_mut()).poll_read(cx, buf)),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io, fault) => fault.note(Pin::new(io.as_mut()).poll_write(cx, buf)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io, fault) => fault.note(Pin::new(io.as_mut()).poll_flush(cx)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io, fault) => fault.note(Pin::new(io.as_mut()).poll_shutdown(cx)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io, _) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io, fault) => fault.note(Pin::new(io.as_mut()).poll_write_vectored(cx, bufs)),
        }
    }
}
