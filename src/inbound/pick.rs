//! Values out of a request: headers, fields of a JSON body, fields of a form.

use std::borrow::Cow;
use std::cell::OnceCell;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::form_urlencoded;

use super::pointers;
use crate::config::{JsonPointer, Pick, Source, Verification};
use crate::intake::content::media_type;
use crate::signature::SchemeKind;

/// What is read from the requests of a source, and where it stands. Made of its config once.
#[derive(Debug)]
pub(super) struct Places {
    event_type: Vec<Place>,
    id: Vec<Place>,
    key: Vec<Place>,
    /// The places of Slack's `url_verification`: its `type` and its `challenge`.
    challenge: Option<[Place; 2]>,
    /// Every pointer of these, once each.
    pointers: Vec<JsonPointer>,
}

#[derive(Debug)]
enum Place {
    Header(HeaderName),
    /// The pointer of this number.
    Json(usize),
    Form(Box<str>),
}

/// What was found in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picked {
    /// The type, less the source's name.
    pub(super) event_type: Option<String>,
    /// The id by which a repeat is known.
    pub(super) id: Option<String>,
    /// The ordering key.
    pub(super) key: Option<String>,
}

impl Places {
    /// Those of a source.
    pub(super) fn new(source: &Source) -> Self {
        let mut pointers = Vec::new();
        let mut places = |picks: &[Pick]| picks.iter().map(|pick| place(pick, &mut pointers)).collect();
        let (event_type, id, key) = (places(&source.event_type), places(&source.dedup), places(&source.key));
        let challenge = is_slack(source).then(|| ["/type", "/challenge"].map(|text| slack_field(text, &mut pointers)));
        Self { event_type, id, key, challenge, pointers }
    }

    /// Whether there is a place for the type.
    pub(super) fn name_a_type(&self) -> bool {
        !self.event_type.is_empty()
    }

    /// Slack's challenge, where the request is one.
    pub(super) fn challenge(&self, looked: &Looked<'_>) -> Option<String> {
        let [kind, challenge] = self.challenge.as_ref()?;
        let kind = looked.value(self, kind)?;
        (kind == "url_verification").then(|| looked.value(self, challenge).map(Cow::into_owned))?
    }

    /// The values of a request.
    pub(super) fn pick(&self, looked: &Looked<'_>) -> Picked {
        let first = |places: &[Place]| places.iter().find_map(|place| looked.value(self, place)).map(Cow::into_owned);
        Picked { event_type: first(&self.event_type), id: first(&self.id), key: first(&self.key) }
    }
}

fn place(pick: &Pick, pointers: &mut Vec<JsonPointer>) -> Place {
    match pick {
        Pick::Header(name) => Place::Header(name.clone()),
        Pick::Json(pointer) => Place::Json(number(pointer.clone(), pointers)),
        Pick::Form(field) => Place::Form(field.clone()),
    }
}

fn slack_field(text: &str, pointers: &mut Vec<JsonPointer>) -> Place {
    let pointer = JsonPointer::parse(text).expect("a slash and letters are a pointer");
    Place::Json(number(pointer, pointers))
}

fn number(pointer: JsonPointer, pointers: &mut Vec<JsonPointer>) -> usize {
    pointers.iter().position(|known| *known == pointer).unwrap_or_else(|| {
        pointers.push(pointer);
        pointers.len() - 1
    })
}

fn is_slack(source: &Source) -> bool {
    match &source.verify {
        Verification::Schemes(schemes) => schemes.iter().any(|scheme| scheme.kind() == SchemeKind::Slack),
        Verification::Unverified => false,
    }
}

/// A request that is looked at. Its body is walked once at most, and only where a field of it is asked for.
pub(super) struct Looked<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
    fields: OnceCell<Vec<Option<Cow<'a, str>>>>,
}

impl<'a> Looked<'a> {
    /// This one.
    pub(super) fn at(headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { headers, body, fields: OnceCell::new() }
    }

    /// The value at a place; an empty one is none.
    fn value(&self, places: &Places, place: &Place) -> Option<Cow<'a, str>> {
        let value = match place {
            Place::Header(name) => header(self.headers, name),
            Place::Form(field) => self.form(field),
            Place::Json(pointer) => {
                // Whatever the content type says: some send JSON as text, and curl and others call it a form unless they are told.
                let fields = self.fields.get_or_init(|| pointers::values(self.body, &places.pointers));
                fields.get(*pointer).cloned().flatten()
            }
        };
        value.filter(|value| !value.is_empty())
    }

    /// The first field of this name. Text with `&` and `=` in it looks like a form, so the content type must say that it is one.
    fn form(&self, field: &str) -> Option<Cow<'a, str>> {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media_type(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return None;
        }
        form_urlencoded::parse(self.body).find(|(name, _)| name == field).map(|(_, value)| value)
    }
}

/// The value of a header that is there once. Which of two was meant, nobody knows.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    Some(text(value))
}

/// A header's value as text: UTF-8, or else a character for each byte (ISO 8859-1).
fn text(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes().trim_ascii();
    str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{header, headers, json, source, verified};
    use super::*;

    const JSON: (&str, &[u8]) = ("content-type", b"application/json");
    const FORM: (&str, &[u8]) = ("content-type", b"Application/X-WWW-Form-Urlencoded; charset=utf-8");

    fn form(field: &str) -> Pick {
        Pick::Form(field.into())
    }

    fn event_type(picks: Vec<Pick>, fields: &[(&'static str, &[u8])], body: &[u8]) -> Option<String> {
        let places = Places::new(&Source { event_type: picks, ..source() });
        places.pick(&Looked::at(&headers(fields), body)).event_type
    }

    #[test]
    fn the_first_place_that_has_a_value_counts() {
        let picks = || vec![header("x-event"), json("/event/type"), json("/type"), form("command")];
        let body = br#"{"type":"outer","event":{"type":"inner"}}"#;
        let found = |fields: &[(&'static str, &[u8])], body: &[u8]| event_type(picks(), fields, body);
        assert_eq!(found(&[("x-event", b"head"), JSON], body).as_deref(), Some("head"));
        assert_eq!(found(&[("x-event", b""), JSON], body).as_deref(), Some("inner"), "an empty value is none");
        assert_eq!(found(&[JSON], br#"{"type":"outer","event":{}}"#).as_deref(), Some("outer"));
        assert_eq!(found(&[FORM], b"a=b&command=%2Fdeploy+x&command=y").as_deref(), Some("/deploy x"));
        assert_eq!(found(&[JSON], b"{}"), None);
        assert_eq!(found(&[], b""), None);
    }

    #[test]
    fn a_header_that_is_there_twice_has_no_value() {
        let picks = || vec![header("x-event"), header("x-other")];
        let found = |fields: &[(&'static str, &[u8])]| event_type(picks(), fields, b"");
        assert_eq!(found(&[("x-event", b"a"), ("x-event", b"a")]), None);
        assert_eq!(found(&[("x-event", b"a"), ("x-event", b"b"), ("x-other", b"c")]).as_deref(), Some("c"));
    }

    #[test]
    fn headers_in_any_bytes_have_a_value() {
        let found = |value: &[u8]| event_type(vec![header("x-event")], &[("x-event", value)], b"");
        assert_eq!(found("ü".as_bytes()).as_deref(), Some("ü"));
        assert_eq!(found(b"\xfc").as_deref(), Some("\u{fc}"));
        assert_ne!(found(b"\xfc"), found(b"\xfd"));
    }

    #[test]
    fn a_form_is_one_by_its_content_type_and_json_by_its_text() {
        let sly = br#"{"text":"x&command=forged&y=","type":"t"}"#;
        assert_eq!(event_type(vec![form("command")], &[JSON], sly), None);
        assert_eq!(event_type(vec![form("command")], &[], b"command=x"), None);
        assert_eq!(event_type(vec![json("/type")], &[("content-type", b"text/plain")], sly).as_deref(), Some("t"));
        assert_eq!(event_type(vec![json("/type")], &[], sly).as_deref(), Some("t"));
        assert_eq!(event_type(vec![json("/type")], &[FORM], sly).as_deref(), Some("t"));
        assert_eq!(event_type(vec![json("/type")], &[FORM], b"type=t"), None);
    }

    #[test]
    fn type_id_and_key_are_read_in_one_walk() {
        let event_type = vec![json("/type")];
        let dedup = vec![json("/id")];
        let key = vec![json("/data/customer"), json("/id")];
        let places = Places::new(&Source { event_type, dedup, key, ..source() });
        assert_eq!(places.pointers.len(), 3, "each pointer once");
        let (headers, body) = (headers(&[JSON]), br#"{"id":"e1","type":"t","data":{"customer":17}}"#);
        let looked = Looked::at(&headers, body);
        let picked = places.pick(&looked);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(picked, Picked { event_type: text("t"), id: text("e1"), key: text("17") });
        assert!(looked.fields.get().is_some_and(|fields| fields.len() == 3));
    }

    #[test]
    fn a_body_is_walked_only_where_a_field_of_it_is_asked_for() {
        let places = Places::new(&Source { event_type: vec![header("x-event"), json("/type")], ..source() });
        let headers = headers(&[("x-event", b"a")]);
        let looked = Looked::at(&headers, b"{}");
        assert_eq!(places.pick(&looked).event_type.as_deref(), Some("a"));
        assert!(looked.fields.get().is_none());
    }

    #[test]
    fn a_challenge_of_slack_is_known_to_sources_of_slack_alone() {
        let headers = headers(&[JSON]);
        let challenge = |kind, body: &[u8]| {
            Places::new(&Source { verify: verified(kind), ..source() }).challenge(&Looked::at(&headers, body))
        };
        let body = br#"{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}"#;
        assert_eq!(challenge(SchemeKind::Slack, body).as_deref(), Some("3eZbrw1aB"));
        assert_eq!(challenge(SchemeKind::Github, body), None);
        for other in [&br#"{"challenge":"x","type":"event_callback"}"#[..], br#"{"type":"url_verification"}"#, b""] {
            assert_eq!(challenge(SchemeKind::Slack, other), None);
        }
    }
}
