//! What a delivery's body looks like: the same bytes on every attempt.
//!
//! JSON is kept as text and put into its place as it came, so that `123456789012345678901234567890` and `1.10` arrive
//! as they were sent; nothing here parses and prints `data` again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::Format;
use crate::model::event::Event;

/// The CloudEvents `source` of an event that came without one.
pub const CLOUD_SOURCE: &str = "webhookd";

/// A body ready to sign and to send.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) body: Bytes,
    pub(super) content_type: HeaderValue,
}

/// Renders `event` as an endpoint wants it. For [`Format::Raw`] the body is shared, not copied.
pub(super) fn render(event: &Event, format: Format) -> Rendered {
    match format {
        Format::Raw => Rendered { body: event.content.body.clone(), content_type: content_type(event) },
        Format::Standard => {
            Rendered { body: standard(event), content_type: HeaderValue::from_static("application/json") }
        }
        Format::CloudEvents => Rendered {
            body: cloud_event(event),
            content_type: HeaderValue::from_static("application/cloudevents+json"),
        },
    }
}

fn content_type(event: &Event) -> HeaderValue {
    HeaderValue::from_str(&event.content.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// `{"type","timestamp","data"}` as Standard Webhooks advises, or with `"content_type","body_base64"` in the place of
/// `"data"` where the event's content is no JSON. A CloudEvent may have no data at all; its `"data"` is `null`.
fn standard(event: &Event) -> Bytes {
    let mut object = Object::with_capacity(event);
    object.text("type", event.event_type.as_str());
    object.text("timestamp", &event.timestamp_text());
    if event.content.json {
        object.raw("data", &event.content.body);
    } else if event.cloud_attributes.is_some() && event.content.body.is_empty() {
        object.raw("data", b"null");
    } else {
        object.text("content_type", &event.content.content_type);
        object.base64("body_base64", &event.content.body);
    }
    object.finish()
}

/// A CloudEvents 1.0 event in the JSON event format. Attributes that the producer gave go out as the text they came as;
/// the ones it left out are filled in from the event.
fn cloud_event(event: &Event) -> Bytes {
    let given = event.cloud_attributes.as_deref().and_then(|text| serde_json::from_str::<Attributes<'_>>(text).ok());
    let given = given.map_or_else(Vec::new, |attributes| attributes.0);
    let has = |name: &str| given.iter().any(|(given, _)| given == name);

    let mut object = Object::with_capacity(event);
    if !has("specversion") {
        object.text("specversion", "1.0");
    }
    if !has("id") {
        object.text("id", event.id.as_str());
    }
    if !has("source") {
        object.text("source", CLOUD_SOURCE);
    }
    if !has("type") {
        object.text("type", event.event_type.as_str());
    }
    if !has("time") {
        object.text("time", &event.timestamp_text());
    }
    let empty = event.content.body.is_empty();
    if !empty && !has("datacontenttype") {
        object.text("datacontenttype", &event.content.content_type);
    }
    for (name, value) in &given {
        if name != "data" && name != "data_base64" {
            object.raw(name, value.get().as_bytes());
        }
    }
    if event.content.json {
        object.raw("data", &event.content.body);
    } else if !empty {
        object.base64("data_base64", &event.content.body);
    }
    object.finish()
}

/// A JSON object under construction.
struct Object(Vec<u8>);

impl Object {
    fn with_capacity(event: &Event) -> Self {
        let body = event.content.body.len();
        let body = if event.content.json { body } else { body / 3 * 4 + 4 };
        let extras = event.cloud_attributes.as_deref().map_or(0, str::len);
        let mut text = Vec::with_capacity(body + extras + 256);
        text.push(b'{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("a string always serialises, and writing to a Vec never fails");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// `json` is valid JSON text already.
    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.0.extend_from_slice(json);
    }

    fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        self.0.push(b'"');
    }

    fn finish(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }
}

/// The members of a JSON object, in order, their values as text.
struct Attributes<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Attributes<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Attributes<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Attributes(members))
            }
        }

        from.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::deliver::tests::fixture;

    fn rendered(event: &Event, format: Format) -> (String, String) {
        let out = render(event, format);
        (String::from_utf8(out.body.to_vec()).unwrap(), out.content_type.to_str().unwrap().to_owned())
    }

    #[test]
    fn standard_is_type_timestamp_data_with_the_data_as_it_came() {
        let mut event = fixture::event(br#"{ "n":123456789012345678901234567890, "x": 1.10,"u":"\u00e9" }"#);
        event.at = UnixMs(1_614_265_330_007);
        let expected = concat!(
            r#"{"type":"invoice.paid","timestamp":"2021-02-25T15:02:10.007Z","#,
            r#""data":{ "n":123456789012345678901234567890, "x": 1.10,"u":"\u00e9" }}"#
        );
        assert_eq!(rendered(&event, Format::Standard), (expected.to_owned(), "application/json".to_owned()));
    }

    #[test]
    fn the_producers_own_timestamp_is_kept_as_it_wrote_it() {
        let mut event = fixture::event(b"1");
        event.timestamp = Some("2021-02-25T16:02:10+01:00".into());
        let expected = r#"{"type":"invoice.paid","timestamp":"2021-02-25T16:02:10+01:00","data":1}"#;
        assert_eq!(rendered(&event, Format::Standard).0, expected);
    }

    #[test]
    fn content_that_is_no_json_travels_as_base64() {
        let mut event = fixture::event(b"\x00\xffabc");
        event.at = UnixMs(0);
        event.content.json = false;
        event.content.content_type = r#"text/plain; x="y""#.into();
        let expected = concat!(
            r#"{"type":"invoice.paid","timestamp":"1970-01-01T00:00:00.000Z","#,
            r#""content_type":"text/plain; x=\"y\"","body_base64":"AP9hYmM="}"#
        );
        assert_eq!(rendered(&event, Format::Standard).0, expected);
    }

    #[test]
    fn raw_is_the_body_itself_with_its_own_content_type() {
        let mut event = fixture::event(b"\x00\xff");
        event.content.json = false;
        event.content.content_type = "image/png".into();
        let out = render(&event, Format::Raw);
        assert_eq!(out.body.as_ptr(), event.content.body.as_ptr(), "shared, not copied");
        assert_eq!(out.content_type, "image/png");
    }

    #[test]
    fn cloud_events_have_the_required_attributes_when_the_producer_gave_none() {
        let mut event = fixture::event(br#"{"a":1.10}"#);
        event.at = UnixMs(0);
        let expected = concat!(
            r#"{"specversion":"1.0","id":"evt_1","source":"webhookd","type":"invoice.paid","#,
            r#""time":"1970-01-01T00:00:00.000Z","datacontenttype":"application/json","data":{"a":1.10}}"#
        );
        assert_eq!(
            rendered(&event, Format::CloudEvents),
            (expected.to_owned(), "application/cloudevents+json".to_owned())
        );
    }

    #[test]
    fn cloud_attributes_go_out_as_they_came_in() {
        let mut event = fixture::event(b"<a/>");
        event.at = UnixMs(0);
        event.content.json = false;
        event.content.content_type = "application/xml".into();
        event.cloud_attributes = Some(
            r#"{"specversion":"1.0","id":"A.1","source":"/s\u0065","subject":"x","big":123456789012345678901}"#.into(),
        );
        let expected = concat!(
            r#"{"type":"invoice.paid","time":"1970-01-01T00:00:00.000Z","datacontenttype":"application/xml","#,
            r#""specversion":"1.0","id":"A.1","source":"/s\u0065","subject":"x","big":123456789012345678901,"#,
            r#""data_base64":"PGEvPg=="}"#
        );
        assert_eq!(rendered(&event, Format::CloudEvents).0, expected);
    }

    #[test]
    fn stray_data_among_the_attributes_never_doubles_the_data() {
        let mut event = fixture::event(b"1");
        event.cloud_attributes = Some(r#"{"data":2,"data_base64":"AA=="}"#.into());
        let (body, _) = rendered(&event, Format::CloudEvents);
        assert_eq!(body.matches("data").count(), 2, "datacontenttype and data: {body}");
        assert!(body.ends_with(r#","data":1}"#), "{body}");
    }

    #[test]
    fn an_event_without_content_is_a_cloud_event_without_data() {
        let mut event = fixture::event(b"");
        event.content.json = false;
        let (body, _) = rendered(&event, Format::CloudEvents);
        assert!(!body.contains("data"), "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }

    #[test]
    fn a_cloud_event_without_data_has_null_data_in_the_standard_format() {
        let mut event = fixture::event(b"");
        event.at = UnixMs(0);
        event.content.json = false;
        event.cloud_attributes = Some(r#"{"specversion":"1.0","id":"1","source":"/","type":"a"}"#.into());
        let expected = r#"{"type":"invoice.paid","timestamp":"1970-01-01T00:00:00.000Z","data":null}"#;
        assert_eq!(rendered(&event, Format::Standard).0, expected);
    }

    #[test]
    fn attributes_that_are_no_object_are_left_out_rather_than_break_the_body() {
        for text in ["[1]", "{", "", "null", r#"{"a":1"#] {
            let mut event = fixture::event(b"1");
            event.cloud_attributes = Some(text.into());
            let (body, _) = rendered(&event, Format::CloudEvents);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["source"], CLOUD_SOURCE, "{text}");
        }
    }

    #[test]
    fn every_attempt_renders_the_same_bytes() {
        let event = fixture::event(br#"{"a":1}"#);
        for format in [Format::Standard, Format::Raw, Format::CloudEvents] {
            assert_eq!(render(&event, format).body, render(&event, format).body);
        }
    }
}
