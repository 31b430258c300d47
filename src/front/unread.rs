//! What is answered to a request that hyper could not read: a problem like all others.
//!
//! Such a request never reaches the routes. hyper answers it by itself with a head and an empty body, and offers no way
//! to say more; so that answer is recognised where it leaves, and sent with a body instead.

use super::answer::fields_by_hand;
use super::problem::{Problem, ProblemKind};

/// What tells hyper's own answers from ours, which always name a content type.
const EMPTY: &str = "content-length: 0\r\n";

/// The bytes to send instead of `written`, if that is hyper's whole answer to a request it could not read.
#[must_use]
pub(super) fn explained(written: &[u8]) -> Option<Vec<u8>> {
    if !written.starts_with(b"HTTP/1.1 4") || !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?;
    if !head.contains(EMPTY) || head.contains("content-type:") || head.matches("\r\n\r\n").count() != 1 {
        return None;
    }
    let problem = match head.get(9..12)? {
        "400" => Problem::new(ProblemKind::BadRequest, "this is no HTTP/1.1 or HTTP/2 request"),
        "414" => Problem::new(ProblemKind::UriTooLong, "the request's path and query are too long"),
        "431" => Problem::new(
            ProblemKind::HeadTooLarge,
            "the request line and the headers are too long, or there are too many",
        ),
        _ => return None,
    };
    let body = problem.to_json();
    let mut fields = format!("content-type: application/problem+json\r\ncontent-length: {}\r\n", body.len());
    fields.push_str(&fields_by_hand());
    let mut instead = head.replacen(EMPTY, &fields, 1).into_bytes();
    instead.extend_from_slice(&body);
    Some(instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::answer::ON_EVERY_ANSWER;

    #[test]
    fn what_hyper_refuses_becomes_a_problem() {
        for (line, word) in [
            ("400 Bad Request", "bad-request"),
            ("414 URI Too Long", "uri-too-long"),
            ("431 Request Header Fields Too Large", "head-too-large"),
        ] {
            let head = format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n");
            let instead = String::from_utf8(explained(head.as_bytes()).unwrap()).unwrap();
            let (head, body) = instead.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {line}\r\nconnection: close\r\n")), "{head}");
            assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len())) && head.ends_with("date: x"),
                "{head}"
            );
            for (name, value) in &ON_EVERY_ANSWER {
                assert!(head.contains(&format!("\r\n{name}: {}\r\n", value.to_str().unwrap())), "{name} in {head}");
            }
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["type"], format!("urn:webhookd:problem:{word}"));
            assert_eq!(problem["status"].as_u64().unwrap().to_string(), line[..3]);
        }
    }

    #[test]
    fn everything_else_goes_out_as_it_is() {
        for written in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "",
        ] {
            assert_eq!(explained(written.as_bytes()), None, "{written:?}");
        }
    }
}
