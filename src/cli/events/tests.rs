use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::client::Address;
use super::*;

/// The ids that a test daemon lists, the oldest first.
type Ids = Arc<Mutex<Vec<u32>>>;

/// A daemon that lists its events newest first, in pages, as the contract says.
async fn daemon() -> (Api, Ids, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let api = Api::new(Address::parse(&listener.local_addr().unwrap().to_string()).unwrap(), None);
    let ids = Ids::default();
    let listed = Arc::clone(&ids);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let listed = Arc::clone(&listed);
            let service = service_fn(move |request: Request<Incoming>| {
                let page = page(request.uri().query().unwrap_or_default(), &listed.lock().unwrap());
                async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(page.to_string())))) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (api, ids, tasks)
}

fn page(query: &str, ids: &[u32]) -> serde_json::Value {
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect::<HashMap<_, _>>();
    let number = |name: &str| query.get(name).map(|text| text.parse::<usize>().unwrap());
    let end = number("cursor").unwrap_or(ids.len());
    let start = end.saturating_sub(number("limit").unwrap());
    let events = ids[start..end].iter().rev();
    let events = events.map(|id| json!({"id": id.to_string(), "type": "t", "at": "2021-02-25T15:07:10.000Z"}));
    json!({"events": events.collect::<Vec<_>>(), "next": (start > 0).then(|| start.to_string())})
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: EventsArgs,
}

async fn poll(api: &Api, seen: &mut Seen) -> Vec<u32> {
    let args = Line::parse_from(["events", "--follow"]).args;
    let events = fresh(&args, api, UnixMs(0), seen).await.unwrap();
    events.iter().map(|(event, _)| event.id.parse().unwrap()).collect()
}

/// Each event comes once and in order, also those of a burst larger than a page.
#[tokio::test]
async fn following_shows_each_event_once_and_in_order() {
    let (api, ids, _tasks) = daemon().await;
    let mut seen = Seen::default();
    assert!(poll(&api, &mut seen).await.is_empty());
    ids.lock().unwrap().extend(0..3);
    assert_eq!(poll(&api, &mut seen).await, [0, 1, 2]);
    assert!(poll(&api, &mut seen).await.is_empty());
    let burst = u32::try_from(FOLLOW_PAGE + 2 * limits::LIST_LIMIT_MAX).unwrap() + 7;
    ids.lock().unwrap().extend(3..burst);
    assert_eq!(poll(&api, &mut seen).await, (3..burst).collect::<Vec<_>>());
    ids.lock().unwrap().push(burst);
    assert_eq!(poll(&api, &mut seen).await, [burst]);
}

/// What was there before is not told, however much it is.
#[tokio::test]
async fn following_starts_at_the_newest() {
    let (api, ids, _tasks) = daemon().await;
    ids.lock().unwrap().extend(0..5000);
    let mut seen = Seen::default();
    assert_eq!(poll(&api, &mut seen).await.len(), limits::LIST_LIMIT_MAX);
    ids.lock().unwrap().push(5000);
    assert_eq!(poll(&api, &mut seen).await, [5000]);
}

#[test]
fn a_listing_asks_for_what_was_typed() {
    let words =
        "events --type invoice.* --endpoint shop --state dead --since 2h --until 2021-02-25 --limit 5".split(' ');
    let args = Line::parse_from(words).args;
    assert_eq!(
        listing_path(&args, UnixMs(1_614_265_330_000), args.limit, Some("c")),
        "/v1/events?type=invoice.*&endpoint=shop&state=dead&since=2021-02-25T13%3A02%3A10.000Z\
         &until=2021-02-25T00%3A00%3A00.000Z&limit=5&cursor=c"
    );
}

#[test]
fn an_event_is_shown_once() {
    let mut seen = Seen::default();
    assert!(seen.is_new("a"));
    assert!(!seen.is_new("a"));
    for n in 0..=limits::CLI_FOLLOW_SEEN_MAX {
        assert!(seen.is_new(&n.to_string()));
    }
    assert_eq!(seen.ids.len(), limits::CLI_FOLLOW_SEEN_MAX);
    assert_eq!(seen.order.len(), limits::CLI_FOLLOW_SEEN_MAX);
}

#[test]
fn deliveries_are_told_the_worst_first() {
    let event: EventLine = serde_json::from_str(
        r#"{"id":"e","type":"t","at":"","deliveries":[{"endpoint":"shop","state":"delivered"},
            {"endpoint":"legacy","state":"dead"},{"endpoint":"billing","state":"delivered"},
            {"endpoint":"mail","state":"pending","next_attempt_at":"2021-02-25T15:07:10.000Z"}]}"#,
    )
    .unwrap();
    assert_eq!(
        deliveries(&event, UnixMs(1_614_265_330_000)),
        (Tone::Bad, "dead: legacy; pending: mail in 5 min; delivered: shop, billing".to_owned())
    );
}

#[test]
fn a_limit_is_within_what_the_daemon_takes() {
    assert_eq!(limit("1000"), Ok(1000));
    assert!(limit("0").is_err() && limit("1001").is_err() && limit("x").is_err());
}
