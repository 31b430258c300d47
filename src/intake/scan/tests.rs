//! The scanner against a table of corner cases and against serde_json.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn fault(text: &[u8]) -> Option<JsonFaultKind> {
    let read = |bytes| {
        let mut reader = Reader::new(bytes)?;
        reader.value()?;
        reader.finish()
    };
    read(text).err().map(|fault| fault.what)
}

#[test]
fn what_is_refused_is_named() {
    use JsonFaultKind as What;
    let table: &[(&[u8], JsonFaultKind)] = &[
        (b"", What::Empty),
        (b" \n\t\r ", What::Empty),
        (b"\xEF\xBB\xBF{}", What::ByteOrderMark),
        (b"\"\xFF\"", What::Utf8),
        (b"\"\xED\xA0\x80\"", What::Utf8),
        (b"\"\xC0\xAF\"", What::Utf8),
        (b"{\"a\":", What::End),
        (b"[1", What::End),
        (b"\"abc", What::End),
        (b"\"\\", What::End),
        (b"\"\\u12", What::End),
        (b"{}{}", What::Trailing),
        (b"1 2", What::Trailing),
        (b"01", What::Trailing),
        (b"\"a\nb\"", What::Control),
        (b"\"0123456\x1f\"", What::Control),
        (b"\"\\x\"", What::Escape),
        (b"\"\\u12g4\"", What::Escape),
        (b"\"\\ud800\"", What::Surrogate),
        (b"\"\\ud800\\n\"", What::Surrogate),
        (b"\"\\ud800\\ud800\"", What::Surrogate),
        (b"\"\\udc00\"", What::Surrogate),
        (b"{\"\\udfff\":1}", What::Surrogate),
        (b"-", What::Number),
        (b"1.", What::Number),
        (b"1e", What::Number),
        (b"1e+", What::Number),
        (b"-a", What::Number),
        (b"tru", What::Expected("true, false or null")),
        (b"nul", What::Expected("true, false or null")),
        (b"+1", What::Expected("a value")),
        (b".5", What::Expected("a value")),
        (b"NaN", What::Expected("a value")),
        (b"'a'", What::Expected("a value")),
        (b"[1,]", What::Expected("a value")),
        (b"[,1]", What::Expected("a value")),
        (b"[1 2]", What::Expected("a comma or the end of the array")),
        (b"[1}", What::Expected("a comma or the end of the array")),
        (b"{\"a\":1]", What::Expected("a comma or the end of the object")),
        (b"{\"a\":1,}", What::Expected("the name of a field in quotes")),
        (b"{a:1}", What::Expected("the name of a field in quotes")),
        (b"{\"a\" 1}", What::Expected("a colon")),
        (b"]", What::Expected("a value")),
    ];
    for (text, what) in table {
        assert_eq!(fault(text), Some(*what), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_json_allows_is_taken() {
    let table = [
        "123456789012345678901234567890",
        "-0",
        "1.10",
        "1E400",
        "0.1e-5",
        "\"\\ud83d\\ude00 \\u0000 \\/ \u{7f} ü 😀\"",
        " [ ] ",
        "{}",
        "[[],{},\"\",null,true,false]",
        "{\"a\":{\"a\":1,\"a\":2},\"a\":[]}",
        "\t{ \"a\" : [ 1 , 2 ] }\r\n",
    ];
    for text in table {
        assert_eq!(fault(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn depth_is_bounded_and_a_hundred_thousand_brackets_are_refused_at_once() {
    let nested = |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let max = limits::JSON_DEPTH_MAX;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let per_turn = open.matches(['[', '{']).count();
        assert_eq!(fault(nested(open, close, max / per_turn).as_bytes()), None, "{open}");
        assert_eq!(fault(nested(open, close, max / per_turn + 1).as_bytes()), Some(JsonFaultKind::Depth), "{open}");
    }
    let started = Instant::now();
    assert_eq!(fault("[".repeat(100_000).as_bytes()), Some(JsonFaultKind::Depth));
    assert_eq!(fault(nested("[", "]", 100_000).as_bytes()), Some(JsonFaultKind::Depth));
    assert!(started.elapsed().as_millis() < 100, "{:?}", started.elapsed());
}

#[test]
fn a_fault_says_where_it_is() {
    let read = |text: &'static [u8]| Reader::new(text).and_then(|mut reader| reader.value()).unwrap_err().to_string();
    assert_eq!(read(b"[1, x]"), "expected a value at byte 4");
    assert_eq!(read(b"[\"ab\xFF\"]"), "the text is not UTF-8 at byte 4");
    assert_eq!(
        read(b"{\"a\": \"\\ud800\"}"),
        "there is a \\u escape of half a surrogate pair, which stands for no character, at byte 7"
    );
}

#[test]
fn members_and_items_are_walked_in_place() {
    let text = br#" { "a" : 1.10 , "b\u0063" : [ {"x":[]} , "s\n" ] , "a":null } "#;
    let mut reader = Reader::new(text).unwrap();
    reader.enter(Kind::Object).unwrap();
    let (mut first, mut seen) = (true, Vec::new());
    while let Some(key) = reader.next_key(&mut first).unwrap() {
        if key == "bc" {
            reader.enter(Kind::Array).unwrap();
            let mut first = true;
            while reader.next_item(&mut first).unwrap() {
                let value = reader.value().unwrap();
                assert_eq!(&text[value.range()], value.text.as_bytes());
                seen.push(format!("item {:?} {}", value.kind, value.text));
            }
        } else {
            seen.push(format!("{key} {}", reader.value().unwrap().text));
        }
    }
    reader.finish().unwrap();
    assert_eq!(seen, ["a 1.10", "item Object {\"x\":[]}", "item String \"s\\n\"", "a null"]);
}

#[test]
fn strings_are_decoded() {
    let value = |text: &'static str| Reader::new(text.as_bytes()).unwrap().value().unwrap().string();
    assert!(matches!(value("\"plain ü\""), Some(Cow::Borrowed("plain ü"))));
    assert_eq!(value(r#""\ud83d\ude00\t""#).as_deref(), Some("😀\t"));
    assert_eq!(value("\"\"").as_deref(), Some(""));
    assert_eq!(value("1"), None);
}

/// JSON texts with white space, escapes and numbers of every shape.
fn json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[ -!#-\\[\\]-~ü😀]{0,20}",
        Just(r"\u00e4\n\\".to_owned()),
        Just(r"\ud83d\ude00".to_owned()),
        Just(r"12345678\u0000".to_owned()),
    ]
    .prop_map(|inner| format!("\"{inner}\""))
    .boxed();
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,4})?([eE][+-]?[0-9])?",
        string.clone(),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        let blank = "[ \n\t]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), blank)
                .prop_map(|(items, gap)| { format!("[{gap}{}{gap}]", items.join(&format!("{gap},{gap}"))) }),
            (prop::collection::vec((string.clone(), inner), 0..5), blank).prop_map(|(members, gap)| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}{gap}:{gap}{value}")).collect();
                format!("{{{gap}{}{gap}}}", members.join(&format!("{gap},")))
            }),
        ]
    })
}

/// What serde_json thinks: `Value` looks into every string, `RawValue` takes numbers of any size.
fn oracle(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(_) => true,
        Err(error) if error.to_string().contains("out of range") => serde_json::from_slice::<&RawValue>(bytes).is_ok(),
        Err(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn valid_json_is_taken_and_handed_out_verbatim(text in json()) {
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        let value = reader.value().unwrap();
        prop_assert!(reader.finish().is_ok());
        prop_assert_eq!(value.text, text.trim());
        prop_assert!(oracle(text.as_bytes()));
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_does(
        text in json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, prop_oneof![
            any::<u8>(), prop::sample::select(b"\"\\{}[],:0-.eEu tn\x1f".to_vec()),
        ]), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (place, how, byte) in changes {
            let at = place.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => { bytes.remove(at); }
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
        prop_assert_eq!(is_json(&bytes), oracle(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_at_all_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(is_json(&bytes), oracle(&bytes));
    }
}
