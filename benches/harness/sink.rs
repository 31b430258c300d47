//! Where the daemon delivers to.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::shape;

/// The header of every delivery that says which event it is.
const OUR_ID: &str = "webhook-id";

/// Answers every request with 200, once `take` is through with its event's number where that is known here; serves until it is
/// dropped.
pub(crate) fn serve<F>(listener: TcpListener, take: impl Fn(usize) -> F + Clone + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_by(listener, OUR_ID, take)
}

/// The same, where the number stands in another header.
pub(crate) fn serve_by<F>(
    listener: TcpListener,
    header: &'static str,
    take: impl Fn(usize) -> F + Clone + Send + 'static,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut sink = JoinSet::new();
    sink.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            connections.spawn(connection_by(stream, header, take.clone()));
            while connections.try_join_next().is_some() {}
        }
    });
    sink
}

/// Serves one connection until the daemon hangs up.
pub(crate) async fn connection<F>(stream: impl AsyncRead + AsyncWrite + Unpin, take: impl Fn(usize) -> F + Clone)
where
    F: Future<Output = ()>,
{
    connection_by(stream, OUR_ID, take).await;
}

async fn connection_by<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    header: &'static str,
    take: impl Fn(usize) -> F + Clone,
) where
    F: Future<Output = ()>,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let id = request.headers().get(header).and_then(|value| value.to_str().ok());
        let n = id.and_then(shape::number);
        let take = take.clone();
        async move {
            let _ = request.into_body().collect().await;
            if let Some(n) = n {
                take(n).await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
