//! A small HTTP client over TCP or a unix socket: one connection for each request, every request within a time limit.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{block_on, runtime};

/// Where the API is.
#[derive(Clone, Debug)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// A client of one daemon.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    target: Target,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header in ASCII"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("an answer in UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the answer is no JSON ({error}): {} {}", self.status, self.text()),
        }
    }

    /// The same, once the status is what was expected.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The problem document, once everything RFC 9457 and the contract ask of it is there.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.any_problem()
    }

    /// The problem document of any 4xx or 5xx.
    #[track_caller]
    pub(crate) fn any_problem(&self) -> Value {
        assert!(self.status >= 400, "no error: {} {}", self.status, self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{} {}", self.status, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for member in ["type", "title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member:?} is missing: {problem}");
        }
        problem
    }
}

impl Client {
    pub(crate) fn tcp(address: impl Into<String>) -> Self {
        Self { target: Target::Tcp(address.into()), token: None }
    }

    pub(crate) fn unix(path: impl Into<PathBuf>) -> Self {
        Self { target: Target::Unix(path.into()), token: None }
    }

    /// Its `host:port`.
    #[track_caller]
    pub(crate) fn address(&self) -> &str {
        match &self.target {
            Target::Tcp(address) => address,
            Target::Unix(path) => panic!("{} is no address of TCP", path.display()),
        }
    }

    /// The same client with a bearer token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { target: self.target.clone(), token: Some(token.to_owned()) }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    /// Posts JSON text.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, json: impl Into<Bytes>) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], json)
    }

    /// Posts an event of this type with this `data` (JSON text) and returns its id.
    #[track_caller]
    pub(crate) fn event(&self, event_type: &str, data: &str) -> String {
        let reply = self.post("/v1/events", format!(r#"{{"type":"{event_type}","data":{data}}}"#)).expect(202);
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The event as `GET /v1/events/{id}` shows it.
    #[track_caller]
    pub(crate) fn look(&self, id: &str) -> Value {
        self.get(&format!("/v1/events/{id}")).expect(200).json()
    }

    /// The state of the event's delivery to `endpoint`; empty if there is none.
    #[track_caller]
    pub(crate) fn state(&self, id: &str, endpoint: &str) -> String {
        let event = self.look(id);
        let deliveries = event["deliveries"].as_array().expect("deliveries");
        let delivery = deliveries.iter().find(|delivery| delivery["endpoint"] == endpoint);
        delivery.map_or(String::new(), |delivery| delivery["state"].as_str().expect("a state").to_owned())
    }

    /// Waits until the event's delivery to `endpoint` is in `state`, and returns that delivery.
    #[track_caller]
    pub(crate) fn await_state(&self, id: &str, endpoint: &str, state: &str) -> Value {
        super::eventually(&format!("{id} to {endpoint} is {state}"), || {
            let event = self.look(id);
            let deliveries = event["deliveries"].as_array().expect("deliveries");
            deliveries.iter().find(|d| d["endpoint"] == endpoint && d["state"] == state).cloned()
        })
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        match self.try_send(method, path, headers, body) {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Sends a request; the error says why no whole answer came.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
        request = request.header("host", "localhost");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a well-formed request");
        let exchange = async {
            match &self.target {
                Target::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
                    exchange(stream, request).await
                }
                Target::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|error| format!("connect: {error}"))?;
                    exchange(stream, request).await
                }
            }
        };
        block_on(async { tokio::time::timeout(Duration::from_secs(30), exchange).await })
            .unwrap_or_else(|_| Err("no answer within 30 seconds".to_owned()))
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| format!("handshake: {error}"))?;
    let connection = runtime().spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| format!("request: {error}"))?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| format!("answer: {error}"))?.to_bytes();
    drop(sender);
    connection.abort();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
}
