//! What fuzzing runs: one function for each target, which takes any bytes and panics where something that must hold does not.
//!
//! The target files of `fuzz/` only call these, so the same checks run in two ways: under libFuzzer on inputs nobody has thought
//! of (`tests/run --fuzz`), and as a unit test on every input kept in `fuzz/corpus/` (`replay`). What a check must see of a
//! floor that is not public it sees through a `fuzzing` module of that floor.
//!
//! No build that is run has this module: it is there for tests and under the feature `fuzzing` alone.
//!
//! | target | the input | what must hold |
//! |---|---|---|
//! | `config` | a config; `§` stands for a secret | answered; faults lie within the text and show no secret; read twice it is the same |
//! | `event_json` | the body of an event or a batch | what is taken keeps every rule, and its data to the letter |
//! | `cloudevents` | headers, a blank line, a body | the same, in all three modes |
//! | `http_front` | how it is cut, then what a client sends | whole HTTP answers or a close, soon, whatever comes |
//! | `signature_headers` | a scheme, headers, a body | what was signed is accepted, and nothing else |
//! | `retry_after` | a status and two headers | a wait within the policy's bounds |
//! | `stored_records` | which decoder, then bytes | read within bounds; written again it is the same |
//! | `api_path_query` | a path, a query, patterns, a type | decoded as written; patterns match as a plain matcher says |
//! | `inbound_request` | a method and a path, headers, a blank line, a body | only what was signed is taken; what is read of it keeps every rule |
//! | `json_pointers` | JSON pointers, a blank line, a body | found is what serde's own value has there |
//! | `proxy_header` | what a proxy sends, and what follows | the client that is written there, and no byte of what follows is lost |
//! | `url_guard` | the URL of an endpoint | the address that is judged is the one that is dialled |

mod config;
mod events;
mod http_front;
mod inbound;
mod message;
#[cfg(test)]
mod replay;
mod retry_after;
mod signature_headers;
mod wellformed;

pub use self::config::config;
pub use self::events::{cloudevents, event_json};
pub use self::http_front::http_front;
pub use self::inbound::{inbound_request, json_pointers};
pub use self::retry_after::retry_after;
pub use self::signature_headers::signature_headers;
pub use crate::api::fuzzing::api_path_query;
pub use crate::deliver::fuzzing::url_guard;
pub use crate::front::fuzzing::proxy_header;
pub use crate::outbox::fuzzing::stored_records;

/// A target's name, which is also the name of its file and of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target there is.
pub const TARGETS: &[Target] = &[
    ("config", config),
    ("event_json", event_json),
    ("cloudevents", cloudevents),
    ("http_front", http_front),
    ("signature_headers", signature_headers),
    ("retry_after", retry_after),
    ("stored_records", stored_records),
    ("api_path_query", api_path_query),
    ("inbound_request", inbound_request),
    ("json_pointers", json_pointers),
    ("proxy_header", proxy_header),
    ("url_guard", url_guard),
];
