//! JSON as text: laid out for reading without being decoded, so that `1.10` and a number of thirty digits stay as they are.

/// Lays out valid JSON with two spaces for each level. Text that is no JSON comes out oddly spaced and otherwise unchanged.
pub(super) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            match c {
                '\\' => out.extend(chars.next()),
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            ' ' | '\n' | '\r' | '\t' => {}
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    chars.next();
                }
                match chars.peek() {
                    Some('}' | ']') => out.extend(chars.next()),
                    _ => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_string = true;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Deeper levels are not set in any further: a body of a thousand brackets must not become a million spaces.
const INDENT_LEVELS_MAX: usize = 20;

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth.min(INDENT_LEVELS_MAX) {
        out.push_str("  ");
    }
}

/// Whether `text` is one JSON document.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_strings_stay_as_they_are() {
        let text = r#"{"n":123456789012345678901234567890,"p":1.10,"s":"a,b:{\"}","e":{},"l":[ ],"a":[1,[2]]}"#;
        let expected = "{\n  \"n\": 123456789012345678901234567890,\n  \"p\": 1.10,\n  \"s\": \"a,b:{\\\"}\",\n  \"e\": {},\n  \
                        \"l\": [],\n  \"a\": [\n    1,\n    [\n      2\n    ]\n  ]\n}";
        assert_eq!(pretty(text), expected);
    }

    #[test]
    fn deep_nesting_does_not_explode() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(pretty(&deep).len() < 1000 * 100);
    }

    proptest! {
        /// Laying out a document changes nothing that a parser sees, and doing it twice changes nothing at all.
        #[test]
        fn the_document_stays_the_same(value in json()) {
            let text = value.to_string();
            let once = pretty(&text);
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&once).unwrap(), &value);
            prop_assert_eq!(pretty(&once), once);
        }

        /// No text makes it panic.
        #[test]
        fn anything_is_survived(text in ".{0,200}") {
            pretty(&text);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            ".{0,12}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
