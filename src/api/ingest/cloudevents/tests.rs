//! CloudEvents: the examples of the specifications, and what is refused.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::*;
use crate::api::ingest::draft::Draft;
use crate::front::body::{self, Body, Holdings};

async fn body(text: &[u8]) -> Body {
    let body = Full::new(Bytes::copy_from_slice(text));
    body::read(&HeaderMap::new(), body, usize::MAX, &Holdings::new("api", usize::MAX)).await.unwrap()
}

async fn structured(text: impl AsRef<[u8]>) -> Result<Draft, Problem> {
    read_structured(&body(text.as_ref()).await, None)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn the_content_mode_is_told_by_the_headers() {
    type Pairs = &'static [(&'static str, &'static str)];
    let table: [(Pairs, Option<Mode>); 6] = [
        (&[("content-type", "application/cloudevents+json; charset=UTF-8")], Some(Mode::Structured)),
        (&[("content-type", "Application/CloudEvents-Batch+JSON")], Some(Mode::Batch)),
        (&[("content-type", "application/json"), ("ce-specversion", "1.0")], Some(Mode::Binary)),
        (&[("ce-type", "a")], Some(Mode::Binary)),
        (&[("content-type", "application/json")], None),
        (&[], None),
    ];
    for (pairs, mode) in table {
        let headers = headers(pairs);
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        assert_eq!(Mode::of(&headers, content_type), Ok(mode), "{pairs:?}");
    }
    let avro = Mode::of(&HeaderMap::new(), Some("application/cloudevents+avro")).unwrap_err();
    assert_eq!(avro.kind.status(), 415);
}

/// The first example of section 3.2 of the JSON event format.
#[tokio::test]
async fn the_example_with_data_in_base64() {
    let text = r#"{
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "subject": null,
        "id" : "A234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "datacontenttype" : "application/vnd.apache.thrift.binary",
        "data_base64" : "aGVsbG8gd29ybGQ="
    }"#;
    let draft = structured(text).await.unwrap();
    assert_eq!(draft.id.unwrap().as_str(), "A234-1234-1234");
    assert_eq!(draft.event_type.as_str(), "com.example.someevent");
    assert_eq!(draft.timestamp.as_deref(), Some("2018-04-05T17:31:00Z"));
    assert_eq!((&*draft.content.body, draft.content.json), (&b"hello world"[..], false));
    assert_eq!(&*draft.content.content_type, "application/vnd.apache.thrift.binary");
    let expected = r#"{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","id":"A234-1234-1234","#
        .to_owned()
        + r#""time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5,"#
        + r#""datacontenttype":"application/vnd.apache.thrift.binary"}"#;
    assert_eq!(draft.cloud_attributes.as_deref(), Some(&*expected));
}

const REQUIRED: &str = r#""specversion":"1.0","type":"t","source":"/s","id":"i""#;

#[tokio::test]
async fn data_is_kept_as_its_content_type_says() {
    let table: [(&str, &[u8], bool, &str); 9] = [
        (r#""datacontenttype":"application/json","data":{ "n":1.10 }"#, b"{ \"n\":1.10 }", true, "application/json"),
        (r#""data":123456789012345678901234567890"#, b"123456789012345678901234567890", true, "application/json"),
        (r#""data":null"#, b"null", true, "application/json"),
        (r#""data":"a string","datacontenttype":"text/json+json""#, b"\"a string\"", true, "text/json+json"),
        (r#""data":"<a>\u00fc</a>","datacontenttype":"text/xml""#, "<a>ü</a>".as_bytes(), false, "text/xml"),
        (r#""data":{"a":1},"datacontenttype":"text/xml""#, b"{\"a\":1}", true, "text/xml"),
        (r#""data_base64":"eyJhIjoxfQ==""#, b"{\"a\":1}", true, "application/json"),
        (r#""data_base64":"/w==","data_base64_":null"#, b"", false, ""),
        (r#""subject":"s""#, b"", false, "application/json"),
    ];
    for (members, bytes, json, content_type) in table {
        let result = structured(format!("{{{REQUIRED},{members}}}")).await;
        if content_type.is_empty() {
            // "_" is in no attribute's name, but null means that it is not there.
            assert_eq!(&*result.unwrap().content.body, b"\xFF", "{members}");
            continue;
        }
        let content = result.unwrap().content;
        assert_eq!((&*content.body, content.json, &*content.content_type), (bytes, json, content_type), "{members}");
    }
}

#[tokio::test]
async fn extensions_become_key_and_trace_context() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let text = format!(r#"{{{REQUIRED},"partitionkey":"kunde 7","traceparent":"{trace}"}}"#);
    let body = body(text.as_bytes()).await;
    let other = "00-11111111111111111111111111111111-1111111111111111-01";
    let draft = read_structured(&body, Some(other)).unwrap();
    assert_eq!(draft.key.unwrap().as_str(), "kunde 7");
    assert_eq!(draft.traceparent.as_deref(), Some(trace), "the event's own wins over the request's");
    let plain = read_structured(&self::body(format!("{{{REQUIRED}}}").as_bytes()).await, Some(other)).unwrap();
    assert_eq!(plain.traceparent.as_deref(), Some(other));
}

#[tokio::test]
async fn what_breaks_the_specification_is_refused_with_its_place() {
    let with = |members: &str| format!("{{{REQUIRED},{members}}}");
    let table = [
        (r#"{"type":"t","source":"/s","id":"i"}"#.to_owned(), "/specversion"),
        (r#"{"specversion":"1.0","source":"/s","id":"i"}"#.to_owned(), "/type"),
        (r#"{"specversion":"1.0","type":"t","id":"i"}"#.to_owned(), "/source"),
        (r#"{"specversion":"1.0","type":"t","source":"/s"}"#.to_owned(), "/id"),
        (r#"{"specversion":"1.0","type":"t","source":"/s","id":null}"#.to_owned(), "/id"),
        (r#"{"specversion":"0.3","type":"t","source":"/s","id":"i"}"#.to_owned(), "/specversion"),
        (r#"{"specversion":1.0,"type":"t","source":"/s","id":"i"}"#.to_owned(), "/specversion"),
        (r#"{"specversion":"1.0","type":"t","source":"","id":"i"}"#.to_owned(), "/source"),
        (r#"{"specversion":"1.0","type":"t","source":"/a b","id":"i"}"#.to_owned(), "/source"),
        (r#"{"specversion":"1.0","type":"t","source":"/s","id":"a.b"}"#.to_owned(), "/id"),
        (r#"{"specversion":"1.0","type":"t","source":"/s","id":5}"#.to_owned(), "/id"),
        (with(r#""time":"yesterday""#), "/time"),
        (with(r#""subject":"""#), "/subject"),
        (with(r#""datacontenttype":"json""#), "/datacontenttype"),
        (with(r#""Extension":"a""#), "/Extension"),
        (with(r#""my_extension":"a""#), "/my_extension"),
        (with(r#""extension":{"a":1}"#), "/extension"),
        (with(r#""extension":1.5"#), "/extension"),
        (with(r#""extension":2147483648"#), "/extension"),
        (with(r#""extension":1,"extension":1"#), "/extension"),
        (with(r#""data":1,"data":2"#), "/data"),
        (with(r#""data":1,"data_base64":"""#), "/data_base64"),
        (with(r#""data_base64":"!""#), "/data_base64"),
        (with(r#""data_base64":5"#), "/data_base64"),
        (with(&format!(r#""extension":"{}""#, "x".repeat(crate::limits::EVENT_EXTRAS_BYTES_MAX))), ""),
        ("[]".to_owned(), ""),
    ];
    for (text, pointer) in table {
        let problem = structured(&text).await.unwrap_err();
        let shown = &text[..text.len().min(120)];
        assert_eq!((problem.kind.status().as_u16(), problem.pointer.as_deref()), (422, Some(pointer)), "{shown}");
    }
    assert_eq!(structured("{").await.unwrap_err().kind, ProblemKind::InvalidJson);
}

#[tokio::test]
async fn batches_hold_one_or_more() {
    let text = format!(r#"[{{{REQUIRED},"data":1}},{{{REQUIRED},"data":"x"}}]"#);
    let drafts = read_batch(&body(text.as_bytes()).await, None).unwrap();
    assert_eq!(drafts.iter().map(|draft| &*draft.content.body).collect::<Vec<_>>(), [&b"1"[..], b"\"x\""]);
    for (text, pointer) in [("[]", ""), ("{}", ""), ("[1]", "/0"), (r#"[{"id":"i"}]"#, "/0/specversion")] {
        let problem = read_batch(&body(text.as_bytes()).await, None).unwrap_err();
        assert_eq!(problem.pointer.as_deref(), Some(pointer), "{text}");
    }
}

/// The example of section 3.1.4 of the HTTP protocol binding.
#[tokio::test]
async fn the_binary_example() {
    let headers = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.someevent"),
        ("ce-time", "2018-04-05T03:56:24Z"),
        ("ce-id", "1234-1234-1234"),
        ("ce-source", "/mycontext/subcontext"),
        ("ce-comment", "Euro%20%E2%82%AC"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-other", "left alone"),
    ]);
    let draft = read_binary(&headers, &body(b"{\"n\": 1.10}").await).unwrap();
    assert_eq!(draft.id.unwrap().as_str(), "1234-1234-1234");
    assert_eq!(draft.timestamp.as_deref(), Some("2018-04-05T03:56:24Z"));
    assert_eq!((&*draft.content.body, draft.content.json), (&b"{\"n\": 1.10}"[..], true));
    let attributes: serde_json::Value = serde_json::from_str(&draft.cloud_attributes.unwrap()).unwrap();
    let expected = serde_json::json!({
        "specversion": "1.0", "type": "com.example.someevent", "time": "2018-04-05T03:56:24Z", "id": "1234-1234-1234",
        "source": "/mycontext/subcontext", "comment": "Euro €", "datacontenttype": "application/json; charset=utf-8",
    });
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn binary_faults_name_the_header() {
    let good = [("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "i")];
    let table = [
        (("ce-id", "j"), "ce-id stands there twice"),
        (("ce-comment", "100%"), "ce-comment is not percent-encoded"),
        (("ce-datacontenttype", "text/plain"), "ce-datacontenttype is not used"),
        (("ce-data", "x"), "\"data\" is no name"),
        (("ce-a-b", "x"), "\"a-b\" is no name"),
        (("ce-time", "now"), "ce-time must be"),
    ];
    for (extra, named) in table {
        let mut pairs = good.to_vec();
        pairs.push(extra);
        let problem = read_binary(&headers(&pairs), &body(b"").await).unwrap_err();
        assert_eq!((problem.kind.status().as_u16(), problem.pointer.as_deref()), (422, None), "{extra:?}");
        assert!(problem.detail.contains(named), "{}", problem.detail);
    }
    let missing = read_binary(&headers(&good[1..]), &body(b"").await).unwrap_err();
    assert!(missing.detail.contains("ce-specversion is missing"), "{}", missing.detail);
    assert!(read_binary(&headers(&good), &body(b"").await).is_ok());
}
