use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::*;

/// What a test server saw of a request.
type Seen = Arc<Mutex<Vec<(String, Option<String>, Bytes)>>>;

/// Serves one connection after another on `stream`s that `accept` hands out, always with the same answer.
async fn serve_one<S>(
    stream: S,
    seen: Seen,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let target = format!("{} {}", request.method(), request.uri());
            let bearer = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            let content = request.into_body().collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push((target, bearer, content));
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
        }
    });
    server::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap();
}

async fn tcp(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (Api, Seen, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let seen = Seen::default();
    let mut tasks = JoinSet::new();
    let for_server = Arc::clone(&seen);
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, for_server, status, headers, body).await;
    });
    (Api::new(address, Some(HeaderValue::from_static("Bearer t"))), seen, tasks)
}

#[tokio::test]
async fn a_request_arrives_with_its_token_and_its_answer_comes_back() {
    let (api, seen, _tasks) = tcp(202, &[], r#"{"id":"evt_1"}"#).await;
    let answer = api.post("/v1/events", r#"{"type":"a"}"#).await.unwrap();
    assert_eq!(answer.decode::<serde_json::Value>().unwrap()["id"], "evt_1");
    let expected = ("POST /v1/events".to_owned(), Some("Bearer t".to_owned()), Bytes::from_static(br#"{"type":"a"}"#));
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Seen::default();
    let for_server = Arc::clone(&seen);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve_one(stream, for_server, 200, &[], "{}").await;
    });
    let api = Api::new(Address::parse(&format!("unix:{}", path.display())).unwrap(), None);
    api.get("/v1/endpoints").await.unwrap();
    assert_eq!(seen.lock().unwrap()[0].0, "GET /v1/endpoints");
    assert_eq!(seen.lock().unwrap()[0].1, None);
}

#[tokio::test]
async fn a_problem_becomes_one_clear_line() {
    let body = r#"{"type":"x","title":"Invalid event","status":400,"detail":"must not be empty","pointer":"/type"}"#;
    let (api, _, _tasks) = tcp(400, &[("content-type", "application/problem+json")], body).await;
    let error = api.post("/v1/events", "{}").await.unwrap_err();
    assert_eq!(error.to_string(), "Invalid event: must not be empty (at /type) [HTTP 400]");
}

#[tokio::test]
async fn a_refusal_for_now_says_when_to_come_back() {
    let (api, _, _tasks) = tcp(503, &[("retry-after", "7")], r#"{"title":"The data folder is full"}"#).await;
    let ApiError::Refused(problem) = api.post("/v1/events", "{}").await.unwrap_err() else { panic!("not refused") };
    assert!(problem.is_later());
    assert_eq!(problem.to_string(), "The data folder is full [HTTP 503]: try again in 7 s");
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_survived() {
    let (api, _, _tasks) = tcp(404, &[], "<html>not here</html>").await;
    assert_eq!(api.get("/v1/events").await.unwrap_err().to_string(), "Not Found [HTTP 404]");
    let (api, _, _tasks) = tcp(200, &[], "<html>hello</html>").await;
    let answer = api.get("/v1/events").await.unwrap();
    assert!(matches!(answer.decode::<Vec<u8>>(), Err(ApiError::Unexpected { .. })));
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let api = Api::new(Address::parse(&address.to_string()).unwrap(), None);
    let text = api.get("/v1/events").await.unwrap_err().to_string();
    assert!(text.starts_with(&format!("no daemon answers at http://{address} (")), "{text}");
    assert!(text.contains("webhookd run --config FILE"), "{text}");
}

#[tokio::test]
async fn a_connection_that_ends_early_is_no_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let api = Api::new(Address::parse(&listener.local_addr().unwrap().to_string()).unwrap(), None);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(listener.accept().await) });
    assert!(matches!(api.get("/").await, Err(ApiError::Broken { .. })));
}

#[test]
fn addresses_are_urls_and_unix_paths() {
    let http = |text: &str| match Address::parse(text) {
        Ok(Address::Http { authority }) => authority,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(http("http://127.0.0.1:8400"), "127.0.0.1:8400");
    assert_eq!(http("http://localhost:8400/"), "localhost:8400");
    assert_eq!(http("http://[::1]:8400"), "[::1]:8400");
    assert_eq!(http("http://localhost"), "localhost:80");
    assert_eq!(http("127.0.0.1:8400"), "127.0.0.1:8400");
    let https = |authority: &str| Ok(Address::Https { authority: authority.to_owned() });
    assert_eq!(Address::parse("https://localhost"), https("localhost:443"));
    assert_eq!(Address::parse("https://[::1]:8400/"), https("[::1]:8400"));
    assert_eq!(Address::parse("unix:/run/a.sock"), Ok(Address::Unix("/run/a.sock".into())));
    assert_eq!(Address::parse("unix:///run/a.sock"), Ok(Address::Unix("/run/a.sock".into())));
    for bad in
        ["", "unix:a.sock", "https://localhost/v1", "ftp://localhost", "http://localhost/v1", "http://u:p@localhost"]
    {
        assert!(Address::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_part_of_a_path_is_encoded() {
    assert_eq!(path(&["v1", "events", "a/b?c#d%e"], &[]), "/v1/events/a%2Fb%3Fc%23d%25e");
    let query = [("type", "invoice.* &x".to_owned()), ("limit", "5".to_owned())];
    assert_eq!(path(&["v1", "events"], &query), "/v1/events?type=invoice.*+%26x&limit=5");
}
