//! Bodies of `POST /v1/events` and of batches: what is kept, and what each fault is called.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;

use super::*;
use crate::api::tests::targets;
use crate::front::body::{self, Holdings};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

async fn body(text: &[u8]) -> Body {
    let body = Full::new(Bytes::copy_from_slice(text));
    body::read(&HeaderMap::new(), body, usize::MAX, &Holdings::new("api", usize::MAX)).await.unwrap()
}

async fn one(text: impl AsRef<[u8]>) -> Result<Draft, Problem> {
    let targets = targets();
    read_one(&body(text.as_ref()).await, &Ground { targets: &targets, now: NOW, traceparent: None })
}

async fn batch(text: impl AsRef<[u8]>) -> Result<Vec<Draft>, Problem> {
    let targets = targets();
    read_batch(&body(text.as_ref()).await, &Ground { targets: &targets, now: NOW, traceparent: None })
}

#[tokio::test]
async fn data_is_kept_to_the_letter() {
    let data =
        r#"{"n":123456789012345678901234567890,"d":1.10,"z":1,"a":{"z":0,"a":-0.0E+2},"a":[ 1 ,2 ],"e":"\u00fc\/"}"#;
    let draft = one(format!("{{ \"data\" : {data} , \"type\":\"invoice.paid\"}}\n")).await.unwrap();
    assert_eq!(draft.content.body, data);
    assert_eq!((draft.content.json, &*draft.content.content_type), (true, "application/json"));
    for data in ["null", "0", "\"\"", "[]", "false"] {
        let draft = one(format!("{{\"type\":\"a\",\"data\":{data}}}")).await.unwrap();
        assert_eq!(draft.content.body, data);
    }
}

#[tokio::test]
async fn every_field_arrives() {
    let text = r#"{"type":"invoice.paid","data":1,"id":"evt-1","key":"Kunde \u00fc","endpoints":["billing","crm","billing"],
        "timestamp":"2023-11-14T22:13:20.5+01:00","deliver_at":"2023-11-15T00:00:00Z"}"#;
    let draft = one(text).await.unwrap();
    assert_eq!(draft.id.unwrap().as_str(), "evt-1");
    assert_eq!(draft.event_type.as_str(), "invoice.paid");
    assert_eq!(draft.key.unwrap().as_str(), "Kunde ü");
    assert_eq!(draft.timestamp.as_deref(), Some("2023-11-14T22:13:20.5+01:00"));
    assert_eq!(draft.deliver_at.unwrap().at, UnixMs(1_700_006_400_000));
    let names: Vec<_> = draft.endpoints.unwrap().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["billing", "crm", "billing"]);
    let nulls = r#"{"type":"a","data":1,"id":null,"key":null,"endpoints":null,"timestamp":null,"deliver_at":null}"#;
    let draft = one(nulls).await.unwrap();
    assert!(draft.id.is_none() && draft.key.is_none() && draft.endpoints.is_none() && draft.timestamp.is_none());
    let nobody = one(r#"{"type":"a","data":1,"endpoints":[]}"#).await.unwrap();
    assert_eq!(nobody.endpoints.map(|named| named.len()), Some(0));
}

#[tokio::test]
async fn targets_are_those_named_else_those_that_take_the_type() {
    let targets = targets();
    let numbers = |draft: Draft| {
        let names: Vec<_> = draft.into_event(&targets, NOW, None).unwrap().targets;
        let name =
            |no: &EndpointNo| ["billing", "crm", "idle"].into_iter().find(|name| targets.find(name).unwrap().no == *no);
        names.iter().map(|no| name(no).unwrap()).collect::<Vec<_>>()
    };
    let draft = |text: &'static str| async move { one(text).await.unwrap() };
    assert_eq!(numbers(draft(r#"{"type":"invoice.paid","data":1}"#).await), ["billing", "crm"]);
    assert_eq!(numbers(draft(r#"{"type":"order.made","data":1}"#).await), ["crm"]);
    assert_eq!(
        numbers(draft(r#"{"type":"order.made","data":1,"endpoints":["billing","billing"]}"#).await),
        ["billing"]
    );
    assert!(numbers(draft(r#"{"type":"order.made","data":1,"endpoints":[]}"#).await).is_empty());
}

#[tokio::test]
async fn a_moment_to_deliver_at_that_has_passed_means_now() {
    let targets = targets();
    for (text, expected) in [("2023-11-14T22:13:20Z", None), ("2023-11-14T22:13:21Z", Some(NOW.plus_ms(1000)))] {
        let draft = one(format!(r#"{{"type":"a","data":1,"deliver_at":"{text}"}}"#)).await.unwrap();
        assert_eq!(draft.into_event(&targets, NOW, None).unwrap().event.deliver_at, expected);
    }
}

#[tokio::test]
async fn each_fault_has_its_status_and_place() {
    let long_type = format!(r#"{{"type":"{}","data":1}}"#, "t".repeat(limits::EVENT_TYPE_BYTES_MAX + 1));
    let long_id = format!(r#"{{"type":"a","data":1,"id":"{}"}}"#, "i".repeat(limits::EVENT_ID_BYTES_MAX + 1));
    let long_key = format!(r#"{{"type":"a","data":1,"key":"{}"}}"#, "k".repeat(limits::ORDERING_KEY_BYTES_MAX + 1));
    let deep = format!(r#"{{"type":"a","data":{}}}"#, "[".repeat(100_000));
    let table: Vec<(&[u8], ProblemKind, Option<&str>)> = vec![
        (b"", ProblemKind::InvalidJson, None),
        (b"{", ProblemKind::InvalidJson, None),
        (b"type=invoice.paid", ProblemKind::InvalidJson, None),
        (b"{\"type\":\"a\",\"data\":1}x", ProblemKind::InvalidJson, None),
        (b"{\"type\":\"a\",\"data\":\"\xFF\"}", ProblemKind::InvalidJson, None),
        (b"{\"type\":\"a\",\"data\":\"\\ud800\"}", ProblemKind::InvalidJson, None),
        (b"{\"type\":\"\\udc00\",\"data\":1}", ProblemKind::InvalidJson, None),
        (deep.as_bytes(), ProblemKind::InvalidJson, None),
        (b"null", ProblemKind::InvalidField, Some("")),
        (b"[]", ProblemKind::InvalidField, Some("")),
        (b"\"a\"", ProblemKind::InvalidField, Some("")),
        (b"{\"data\":1}", ProblemKind::InvalidField, Some("/type")),
        (b"{\"type\":null,\"data\":1}", ProblemKind::InvalidField, Some("/type")),
        (b"{\"type\":5,\"data\":1}", ProblemKind::InvalidField, Some("/type")),
        (b"{\"type\":\"\",\"data\":1}", ProblemKind::InvalidField, Some("/type")),
        (b"{\"type\":\"a b\",\"data\":1}", ProblemKind::InvalidField, Some("/type")),
        (long_type.as_bytes(), ProblemKind::InvalidField, Some("/type")),
        (b"{\"type\":\"a\"}", ProblemKind::InvalidField, Some("/data")),
        (b"{\"type\":\"a\",\"dta\":1,\"data\":1}", ProblemKind::UnknownField, Some("/dta")),
        (b"{\"type\":\"a\",\"Data\":1,\"data\":1}", ProblemKind::UnknownField, Some("/Data")),
        (b"{\"type\":\"a\",\"data\":1,\"type\":\"a\"}", ProblemKind::UnknownField, Some("/type")),
        (b"{\"type\":\"a\",\"data\":1,\"d\\u0061ta\":1}", ProblemKind::UnknownField, Some("/data")),
        (b"{\"type\":\"a\",\"data\":1,\"id\":\"\"}", ProblemKind::InvalidField, Some("/id")),
        (b"{\"type\":\"a\",\"data\":1,\"id\":\"a.b\"}", ProblemKind::InvalidField, Some("/id")),
        (b"{\"type\":\"a\",\"data\":1,\"id\":\"a\\u0000b\"}", ProblemKind::InvalidField, Some("/id")),
        (b"{\"type\":\"a\",\"data\":1,\"id\":7}", ProblemKind::InvalidField, Some("/id")),
        (long_id.as_bytes(), ProblemKind::InvalidField, Some("/id")),
        (b"{\"type\":\"a\",\"data\":1,\"key\":\"a\\nb\"}", ProblemKind::InvalidField, Some("/key")),
        (long_key.as_bytes(), ProblemKind::InvalidField, Some("/key")),
        (b"{\"type\":\"a\",\"data\":1,\"timestamp\":\"now\"}", ProblemKind::InvalidField, Some("/timestamp")),
        (b"{\"type\":\"a\",\"data\":1,\"timestamp\":1700000000}", ProblemKind::InvalidField, Some("/timestamp")),
        (b"{\"type\":\"a\",\"data\":1,\"deliver_at\":\"2h\"}", ProblemKind::InvalidField, Some("/deliver_at")),
        (
            b"{\"type\":\"a\",\"data\":1,\"deliver_at\":\"2025-01-01T00:00:00Z\"}",
            ProblemKind::InvalidField,
            Some("/deliver_at"),
        ),
        (b"{\"type\":\"a\",\"data\":1,\"endpoints\":\"crm\"}", ProblemKind::InvalidField, Some("/endpoints")),
        (b"{\"type\":\"a\",\"data\":1,\"endpoints\":{\"crm\":1}}", ProblemKind::InvalidField, Some("/endpoints")),
        (
            b"{\"type\":\"a\",\"data\":1,\"endpoints\":[\"crm\",\"x\"]}",
            ProblemKind::UnknownEndpoint,
            Some("/endpoints/1"),
        ),
        (b"{\"type\":\"a\",\"data\":1,\"endpoints\":[1]}", ProblemKind::InvalidField, Some("/endpoints/0")),
    ];
    for (text, kind, pointer) in table {
        let shown = String::from_utf8_lossy(&text[..text.len().min(80)]);
        let problem = one(text).await.expect_err(&shown);
        assert_eq!((problem.kind, problem.pointer.as_deref()), (kind, pointer), "{shown}: {}", problem.detail);
        assert!(problem.kind.status().is_client_error());
    }
}

#[tokio::test]
async fn all_faults_of_an_event_are_told_at_once() {
    let problem = one(r#"{"type":"a b","id":"a.b","extra":1,"endpoints":["x"]}"#).await.unwrap_err();
    let pointers: Vec<_> = problem.errors.iter().map(|fault| fault.pointer.as_deref().unwrap()).collect();
    assert_eq!(pointers, ["/extra", "/type", "/id", "/endpoints/0", "/data"]);
    let many =
        one(format!(r#"{{"type":"a","data":1,"endpoints":[{}"x"]}}"#, "\"x\",".repeat(10_000))).await.unwrap_err();
    assert_eq!(many.errors.len(), limits::FAULTS_SHOWN_MAX);
}

#[tokio::test]
async fn batches_are_read_whole() {
    let event = |n: usize| format!(r#"{{"type":"a","data":{{"n":{n}.0}},"id":"e{n}"}}"#);
    let events = |len: usize| format!("[{}]", (0..len).map(event).collect::<Vec<_>>().join(" , "));
    let drafts = batch(events(limits::BATCH_EVENTS_MAX)).await.unwrap();
    assert_eq!(drafts.len(), limits::BATCH_EVENTS_MAX);
    assert_eq!(drafts[999].content.body, r#"{"n":999.0}"#);
    let problem = batch(events(limits::BATCH_EVENTS_MAX + 1)).await.unwrap_err();
    assert_eq!((problem.kind, problem.pointer.as_deref()), (ProblemKind::BatchSize, Some("/1000")));
    let problem = batch("[]").await.unwrap_err();
    assert_eq!((problem.kind, problem.pointer.as_deref()), (ProblemKind::BatchSize, Some("")));
}

#[tokio::test]
async fn faults_of_a_batch_say_which_event() {
    let text = r#"[{"type":"a","data":1},{"type":"","data":1},5,{"type":"a","data":1,"nope":0}]"#;
    let problem = batch(text).await.unwrap_err();
    assert_eq!(problem.pointer.as_deref(), Some("/1/type"));
    let pointers: Vec<_> = problem.errors.iter().map(|fault| fault.pointer.as_deref().unwrap()).collect();
    assert_eq!(pointers, ["/1/type", "/2", "/3/nope"]);
    let table = [
        (r#"[{"type":"a","data":1},{"type":"a","data":x}]"#, ProblemKind::InvalidJson, Some("/1")),
        (r#"[{"type":"a","data":1}"#, ProblemKind::InvalidJson, None),
        (r#"[{"type":"a","data":1}]]"#, ProblemKind::InvalidJson, None),
        (r#"{"type":"a","data":1}"#, ProblemKind::InvalidField, Some("")),
    ];
    for (text, kind, pointer) in table {
        let problem = batch(text).await.unwrap_err();
        assert_eq!((problem.kind, problem.pointer.as_deref()), (kind, pointer), "{text}");
    }
}

#[tokio::test]
async fn names_of_unknown_fields_are_escaped_and_not_repeated_at_length() {
    let problem = one(r#"{"type":"a","data":1,"a/b~c\n":1}"#).await.unwrap_err();
    assert_eq!(problem.pointer.as_deref(), Some("/a~1b~0c\n"));
    assert!(problem.detail.contains(r#""a/b~c\n""#), "{}", problem.detail);
    let long = one(format!(r#"{{"type":"a","data":1,"{}":1}}"#, "x".repeat(10_000))).await.unwrap_err();
    assert!(long.detail.len() < 300 && long.pointer.as_deref() == Some(""), "{}", long.detail);
}
