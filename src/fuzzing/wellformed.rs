//! Whether what a listener has written is whole answers, by the grammar alone.

use hyper::Method;

const FRAME_HEAD_BYTES: usize = 9;
/// Largest frame that we may be sent without having asked for larger ones (RFC 9113, section 4.2).
const FRAME_BYTES_MAX: usize = 16_384;

/// Panics where `received` is not whole answers to requests with these methods, and at most one more to what was no request.
pub(super) fn check(received: &[u8], methods: &[Method]) {
    if received.is_empty() || received.starts_with(b"HTTP/") {
        check_http1(received, methods);
    } else {
        check_http2(received);
    }
}

fn check_http1(mut rest: &[u8], methods: &[Method]) {
    let mut methods = methods.iter();
    let mut last = false;
    while !rest.is_empty() {
        assert!(!last, "something follows the last answer: {:?}", rest.escape_ascii().to_string());
        let head_bytes = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head has an end") + 4;
        let (head, after) = rest.split_at(head_bytes);
        let head = Head::read(head);
        if head.status < 200 {
            assert_eq!(head.status, 100, "nothing here switches protocols");
            rest = after;
            continue;
        }
        let method = methods.next();
        // What hyper could not read it answers itself, and closes.
        last = method.is_none();
        assert!(!last || (400..500).contains(&head.status), "{} to no request", head.status);
        assert!(head.field("transfer-encoding").is_none(), "answers are not chunked");
        let len: usize = head.field("content-length").expect("a length is told").parse().expect("a length is a number");
        let bodyless = method == Some(&Method::HEAD) || matches!(head.status, 204 | 304);
        let (body, after) = after.split_at_checked(if bodyless { 0 } else { len }).expect("the body is whole");
        if head.field("content-type") == Some("application/problem+json") && !bodyless {
            let problem: serde_json::Value = serde_json::from_slice(body).expect("a problem is JSON");
            assert_eq!(problem["status"].as_u64(), Some(head.status.into()));
        }
        rest = after;
    }
}

/// The head of an answer.
struct Head<'a> {
    status: u16,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    fn read(head: &'a [u8]) -> Self {
        let text = str::from_utf8(head).expect("a head is ASCII");
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default();
        let rest = first.strip_prefix("HTTP/1.1 ").or(first.strip_prefix("HTTP/1.0 ")).expect("a version");
        let (status, _) = rest.split_once(' ').expect("a status and a reason");
        assert!(status.len() == 3, "{first}");
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a name and a value");
            assert!(
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{line}"
            );
            assert!(!value.chars().any(char::is_control), "{line:?}");
            (name, value)
        });
        Self { status: status.parse().expect("three digits"), fields: fields.collect() }
    }

    /// The value of a field that stands there once at most.
    fn field(&self, name: &str) -> Option<&'a str> {
        let mut values = self.fields.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice");
        value
    }
}

fn check_http2(mut rest: &[u8]) {
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(FRAME_HEAD_BYTES).expect("the head of a frame is whole");
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        assert!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes");
        assert!(head[3] <= 9, "a frame of type {}", head[3]);
        let (_, after) = after.split_at_checked(len).expect("a frame is whole");
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn whole_answers_pass() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        check(b"", &[]);
        check(REFUSED.as_bytes(), &[]);
        check(format!("{head}{REFUSED}").as_bytes(), &[Method::HEAD]);
        check(
            format!("HTTP/1.1 100 Continue\r\n\r\n{head}12345{head}54321{REFUSED}").as_bytes(),
            &[Method::GET, Method::POST],
        );
        check(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 7], &[]);
    }

    #[test]
    fn everything_else_is_found() {
        let table: [(&str, &[Method]); 9] = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n1234", &[Method::GET]),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", &[Method::GET]),
            ("HTTP/1.1 200 OK\r\n\r\n", &[Method::GET]),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &[]),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n", &[Method::GET]),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n", &[Method::GET]),
            (
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
                &[],
            ),
            ("HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}", &[]),
            ("\0\0\u{1}\u{4}\0\0\0\0\0", &[]),
        ];
        for (received, methods) in table {
            let found = std::panic::catch_unwind(|| check(received.as_bytes(), methods));
            assert!(found.is_err(), "{received:?}");
        }
    }
}
