//! Looking at what is stored: lists, filters, pages, endpoints.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kit::{Answer, Client, Daemon, Receiver, Setup};

/// 30 events `e-00` … `e-29`; the even ones of type `even.n`, the odd ones `odd.n`. `good` takes all, `bad` takes the odd
/// ones and refuses them for good.
fn populated(receiver: &Receiver) -> Daemon {
    receiver.answer(|request| Answer::status(if request.path == "/bad" { 500 } else { 200 }));
    let daemon = Setup::new()
        .delivery("retry = []")
        .endpoint("good", &receiver.url("/good"), "")
        .endpoint("bad", &receiver.url("/bad"), "events = [\"odd.*\"]")
        .start();
    for n in 0..30 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        let event = format!(r#"{{"id":"e-{n:02}","type":"{kind}.{n}","data":{n}}}"#);
        daemon.client().post("/v1/events", event).expect(202);
    }
    receiver.wait(45);
    crate::kit::eventually("all is settled", || ids(daemon.client(), "state=pending").is_empty().then_some(()));
    daemon
}

fn page(client: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let page = client.get(&format!("/v1/events?{query}")).expect(200).json();
    let ids = page["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next"].as_str().map(str::to_owned))
}

fn ids(client: &Client, query: &str) -> Vec<String> {
    page(client, query).0
}

fn numbered(numbers: impl DoubleEndedIterator<Item = usize>) -> Vec<String> {
    numbers.rev().map(|n| format!("e-{n:02}")).collect()
}

#[test]
fn events_are_listed_newest_first_and_filtered() {
    let receiver = Receiver::start();
    let daemon = populated(&receiver);
    let client = daemon.client();
    assert_eq!(ids(client, ""), numbered(0..30));
    assert_eq!(ids(client, "type=odd.7"), ["e-07"]);
    assert_eq!(ids(client, "type=even.*"), numbered((0..30).step_by(2)));
    assert_eq!(ids(client, "endpoint=bad"), numbered((1..30).step_by(2)));
    assert_eq!(ids(client, "state=dead"), numbered((1..30).step_by(2)));
    assert_eq!(ids(client, "state=delivered"), numbered(0..30));
    assert_eq!(ids(client, "endpoint=bad&state=delivered"), Vec::<String>::new());
    assert_eq!(ids(client, "endpoint=good&state=dead"), Vec::<String>::new());
    assert_eq!(
        ids(client, "endpoint=bad&state=dead&type=odd.1*"),
        numbered([1].into_iter().chain((11..20).step_by(2)).collect::<Vec<_>>().into_iter())
    );
    assert_eq!(ids(client, "limit=3"), numbered(27..30));
}

#[test]
fn events_are_filtered_by_time() {
    let receiver = Receiver::start();
    let daemon = populated(&receiver);
    let client = daemon.client();
    let at = |n: usize| client.look(&format!("e-{n:02}"))["at"].as_str().unwrap().to_owned();
    let encode = |text: String| text.replace('+', "%2B").replace(':', "%3A");
    let all: Vec<(usize, String)> = (0..30).map(|n| (n, at(n))).collect();
    let (since, until) = (at(10), at(20));
    // Several events may have been accepted in the same millisecond; RFC 3339 in one zone sorts as text.
    let wanted = |keep: &dyn Fn(&str) -> bool| {
        let kept: Vec<usize> = all.iter().filter(|(_, at)| keep(at)).map(|(n, _)| *n).collect();
        numbered(kept.into_iter())
    };
    assert_eq!(ids(client, &format!("since={}", encode(since.clone()))), wanted(&|at| at >= since.as_str()));
    assert_eq!(ids(client, &format!("until={}", encode(until.clone()))), wanted(&|at| at < until.as_str()));
    let query = format!("since={}&until={}", encode(since.clone()), encode(until.clone()));
    assert_eq!(ids(client, &query), wanted(&|at| at >= since.as_str() && at < until.as_str()));
    assert!(ids(client, "since=2999-01-01T00:00:00Z").is_empty());
}

#[test]
fn a_cursor_walks_through_all_once() {
    let receiver = Receiver::start();
    let mut daemon = populated(&receiver);
    for filter in ["", "&endpoint=bad", "&state=dead&type=odd.*"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for round in 0..40 {
            let (ids, next) = page(daemon.client(), &format!("limit=7{filter}{cursor}"));
            assert!(ids.len() <= 7);
            seen.extend(ids);
            match next {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            assert!(round < 39, "the cursor leads nowhere");
            if round == 1 && filter.is_empty() {
                // An event that comes in between, or a restart, moves nothing.
                daemon.client().event("odd.new", "1");
                daemon.restart();
            }
        }
        let distinct: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "an event came twice: {seen:?}");
        let old: Vec<&String> = seen.iter().filter(|id| id.starts_with("e-")).collect();
        assert_eq!(old.len(), if filter.is_empty() { 30 } else { 15 }, "{filter}");
        assert!(old.is_sorted_by(|a, b| a > b), "newest first: {old:?}");
    }
}

#[test]
fn an_unknown_filter_value_is_refused() {
    let daemon = Setup::new().start();
    for query in [
        "state=lost",
        "limit=0",
        "limit=-1",
        "limit=many",
        "limit=1000000",
        "since=yesterday",
        "until=2020-01-01",
        "cursor=xyz",
        "cursor=%00",
        "type=%ff",
    ] {
        let reply = daemon.client().get(&format!("/v1/events?{query}"));
        assert!((400..500).contains(&reply.status), "{query}: {} {}", reply.status, reply.text());
        reply.any_problem();
    }
}

#[test]
fn endpoints_tell_how_they_are() {
    let receiver = Receiver::start();
    let daemon = populated(&receiver);
    let all = daemon.client().get("/v1/endpoints").expect(200).json();
    let list = all["endpoints"].as_array().unwrap();
    let names: BTreeSet<&str> = list.iter().map(|endpoint| endpoint["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["good", "bad"]));
    let good = daemon.client().get("/v1/endpoints/good").expect(200).json();
    assert_eq!(good["name"], "good");
    assert_eq!(good["state"], "active");
    assert_eq!(good["url"], receiver.url("/good"));
    let bad = daemon.client().get("/v1/endpoints/bad").expect(200).json();
    let last = &bad["last_error"];
    assert!(last.to_string().contains("500"), "the last error tells the status: {bad}");
    for (endpoint, text) in [(&good, good.to_string()), (&bad, bad.to_string())] {
        assert!(!text.contains("whsec_") && !text.contains("MfKQ9r8"), "a secret is shown: {endpoint}");
    }
    daemon.client().get("/v1/endpoints/nobody").problem(404);
}

#[test]
fn a_listing_shows_each_delivery_and_its_state() {
    let receiver = Receiver::start();
    let daemon = populated(&receiver);
    let page = daemon.client().get("/v1/events?type=odd.7").expect(200).json();
    let text = page["events"][0].to_string();
    for word in ["odd.7", "good", "bad", "delivered", "dead"] {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
    assert!(page["next"].is_null(), "{}", Value::to_string(&page["next"]));
}
