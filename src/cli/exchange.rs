//! One request and its answer on one connection, whatever it is for and whatever carries it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::limits;

/// How long connecting may take, and a TLS handshake once more.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(limits::CONNECT_MS_MAX);

/// What went wrong on a connection. Its causes say what TLS met, see [`super::tls::Met::below`].
pub(super) type Broken = Box<dyn Error + Send + Sync>;

/// Connects, within a time limit.
pub(super) async fn dial<S>(connecting: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects to `host:port`, and does not wait for company when it writes.
pub(super) async fn dial_tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = dial(TcpStream::connect(authority)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS with the host of `authority`, a `host:port`.
pub(super) async fn shake_hands(
    settings: &Arc<ClientConfig>,
    authority: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Broken> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())?;
    let shaken = TlsConnector::from(Arc::clone(settings)).connect(name, stream);
    match timeout(CONNECT_TIMEOUT, shaken).await {
        Ok(shaken) => Ok(shaken?),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// Sends one request and reads its answer, driving the connection meanwhile; both end together.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<(Response<()>, Bytes), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await?.to_bytes();
        Ok((Response::from_parts(head, ()), body))
    };
    tokio::pin!(answer, connection);
    let mut connected = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // Its error, if any, reaches the answer as well.
            _ = &mut connection, if connected => connected = false,
        }
    }
}
