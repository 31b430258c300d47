//! Fields of a JSON body, found in one walk: nothing of the body is built but the values that are asked for.

use std::borrow::Cow;

use crate::config::JsonPointer;
use crate::intake::scan::{JsonFault, Kind, Reader};
use crate::limits;

/// The values at these pointers (RFC 6901), in their order. Strings as they are meant, numbers, `true` and `false` as they are
/// written; null, objects and arrays are no values. Of fields of one name the last counts, as most readers of JSON have it.
///
/// A body that is no JSON has no values, also where it breaks off behind them.
pub(super) fn values<'a>(body: &'a [u8], pointers: &[JsonPointer]) -> Vec<Option<Cow<'a, str>>> {
    let mut walk = Walk { pointers, found: vec![None; pointers.len()] };
    let all: Vec<usize> = (0..pointers.len()).collect();
    let walked = Reader::new(body).and_then(|mut reader| {
        walk.value(&mut reader, &all, 0)?;
        reader.finish()
    });
    if walked.is_err() {
        walk.found.fill(None);
    }
    walk.found
}

struct Walk<'a, 'p> {
    pointers: &'p [JsonPointer],
    found: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Walk<'a, '_> {
    /// Passes the value that comes next, at this depth; `here` are the pointers whose way has led to it.
    fn value(&mut self, reader: &mut Reader<'a>, here: &[usize], depth: usize) -> Result<(), JsonFault> {
        for pointer in here {
            self.found[*pointer] = None;
        }
        let leads_on = |pointer: &usize| self.pointers[*pointer].steps().len() > depth;
        let kind = reader.kind()?;
        // Deeper values are passed by the reader itself, whose stack does not grow.
        let enters = depth < limits::JSON_DEPTH_MAX && here.iter().any(leads_on);
        match kind {
            Kind::Object if enters => self.object(reader, here, depth),
            Kind::Array if enters => self.array(reader, here, depth),
            _ => {
                let value = reader.value()?;
                let text = match value.kind {
                    Kind::Object | Kind::Array | Kind::Null => None,
                    Kind::String => value.string(),
                    Kind::Number | Kind::Bool => Some(Cow::Borrowed(value.text)),
                };
                for pointer in here {
                    if self.pointers[*pointer].steps().len() == depth {
                        self.found[*pointer].clone_from(&text);
                    }
                }
                Ok(())
            }
        }
    }

    fn object(&mut self, reader: &mut Reader<'a>, here: &[usize], depth: usize) -> Result<(), JsonFault> {
        reader.enter(Kind::Object)?;
        let mut first = true;
        while let Some(name) = reader.next_key(&mut first)? {
            self.step(reader, here, depth, &name)?;
        }
        Ok(())
    }

    fn array(&mut self, reader: &mut Reader<'a>, here: &[usize], depth: usize) -> Result<(), JsonFault> {
        reader.enter(Kind::Array)?;
        let mut first = true;
        let mut index = 0_usize;
        while reader.next_item(&mut first)? {
            self.step(reader, here, depth, &index.to_string())?;
            index += 1;
        }
        Ok(())
    }

    /// Passes a member or an item, by its name.
    fn step(&mut self, reader: &mut Reader<'a>, here: &[usize], depth: usize, name: &str) -> Result<(), JsonFault> {
        let leads = |pointer: &&usize| self.pointers[**pointer].steps().get(depth).is_some_and(|step| **step == *name);
        let there: Vec<usize> = here.iter().filter(leads).copied().collect();
        if there.is_empty() { reader.value().map(|_| ()) } else { self.value(reader, &there, depth + 1) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn pointers(texts: &[&str]) -> Vec<JsonPointer> {
        texts.iter().map(|text| JsonPointer::parse(text).unwrap()).collect()
    }

    fn at(body: &str, pointer: &str) -> Option<String> {
        values(body.as_bytes(), &pointers(&[pointer])).remove(0).map(Cow::into_owned)
    }

    #[test]
    fn the_examples_of_rfc_6901_are_found() {
        let body = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("/foo/0", "bar"),
            ("/foo/1", "baz"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(at(body, pointer).as_deref(), Some(value), "{pointer}");
        }
        for none in ["", "/foo", "/foo/2", "/foo/00", "/foo/-", "/foo/0/x", "/FOO", "/foo/"] {
            assert_eq!(at(body, none), None, "{none}");
        }
    }

    #[test]
    fn values_are_texts_as_they_are_meant_or_written() {
        for (body, value) in [
            (r#""\u00fc\n""#, Some("ü\n")),
            (r#""""#, Some("")),
            ("1.10", Some("1.10")),
            ("-12345678901234567890", Some("-12345678901234567890")),
            ("true", Some("true")),
            ("false", Some("false")),
            ("null", None),
            ("{}", None),
            ("[]", None),
        ] {
            assert_eq!(at(body, "").as_deref(), value, "{body}");
            assert_eq!(at(&format!(r#" {{"a" : {body} }} "#), "/a").as_deref(), value, "{body} in an object");
        }
    }

    #[test]
    fn of_fields_of_one_name_the_last_counts() {
        assert_eq!(at(r#"{"a":1,"a":2}"#, "/a").as_deref(), Some("2"));
        assert_eq!(at(r#"{"a":1,"a":null}"#, "/a"), None);
        assert_eq!(at(r#"{"a":{"b":1},"a":{}}"#, "/a/b"), None);
        assert_eq!(at(r#"{"a":{"b":1},"a":2}"#, "/a/b"), None);
        assert_eq!(at(r#"{"a":1,"\u0061":2}"#, "/a").as_deref(), Some("2"));
    }

    #[test]
    fn what_is_no_json_has_no_values() {
        for body in [r#"{"a":1"#, r#"{"a":1}x"#, r#"{"a":1,}"#, "", "a=1", "{\"a\":1,\"b\":\"\u{1}\"}"] {
            assert_eq!(at(body, "/a"), None, "{body}");
        }
        assert_eq!(values(b"{\"a\":1,\"b\":\"\xff\"}", &pointers(&["/a"])), [None]);
    }

    #[test]
    fn a_pointer_leads_no_deeper_than_json_goes() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let pointer = |levels: usize| "/0".repeat(levels);
        let max = limits::JSON_DEPTH_MAX;
        assert_eq!(at(&deep(max), &pointer(max)).as_deref(), Some("1"));
        assert_eq!(at(&deep(max + 1), &pointer(max + 1)), None);
        assert_eq!(at(&deep(100_000), &pointer(100_000)), None);
    }

    proptest! {
        /// All pointers are found in one walk, as serde_json finds each of them in what it has built.
        #[test]
        fn one_walk_finds_what_a_built_value_has(
            body in json(), paths in prop::collection::vec(prop::collection::vec("[ab01]", 0..4), 1..6),
        ) {
            let texts: Vec<String> = paths.iter().map(|path| path.iter().map(|step| format!("/{step}")).collect()).collect();
            let pointers: Vec<_> = texts.iter().map(|text| JsonPointer::parse(text).unwrap()).collect();
            let text = body.to_string();
            let expected: Vec<_> = texts
                .iter()
                .map(|text| match body.pointer(text)? {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) => Some(number.to_string()),
                    Value::Bool(bool) => Some(bool.to_string()),
                    Value::Null | Value::Array(_) | Value::Object(_) => None,
                })
                .collect();
            let found: Vec<_> = values(text.as_bytes(), &pointers).into_iter().map(|v| v.map(Cow::into_owned)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab01]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
