//! One keep-alive connection to the daemon.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Failure;

/// See the module. It connects anew where the daemon has hung up.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn to(address: &str) -> Result<Self, Failure> {
        let (sender, driver) = Self::dial(address).await?;
        Ok(Self { sender, address: address.to_owned(), _driver: driver })
    }

    async fn dial(address: &str) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Ok((sender, driver))
    }

    /// Posts JSON; returns the status.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Result<u16, Failure> {
        let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        Ok(self.exchange(request.body(body)?).await?.0)
    }

    /// Gets a page; returns the status and the page.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(u16, Bytes), Failure> {
        self.exchange(Request::get(path).header("host", "localhost").body(Full::default())?).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), Failure> {
        if self.sender.ready().await.is_err() {
            (self.sender, self._driver) = Self::dial(&self.address).await?;
        }
        let answer = self.sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }
}
