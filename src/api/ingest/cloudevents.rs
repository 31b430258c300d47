//! CloudEvents 1.0 over HTTP: structured, binary and batched content mode (the HTTP protocol binding and the JSON event
//! format, both 1.0.2).
//!
//! | attribute | becomes |
//! |---|---|
//! | `id` | the event's id, under webhookd's rule for ids; it is known by `id` alone, whatever the `source` |
//! | `type` | the event's type |
//! | `time` | its timestamp |
//! | `partitionkey` (Partitioning extension) | its ordering key |
//! | `traceparent` (Distributed Tracing extension) | its trace context, before a header of this name |
//! | `datacontenttype`, `data`, `data_base64` | its content |
//!
//! All attributes, extensions included, are kept as the text of one JSON object for endpoints with
//! `format = "cloudevents"`; values that came as JSON keep their text.

mod attributes;
mod binary;
mod structured;
#[cfg(test)]
mod tests;

pub use binary::read_binary;
pub use structured::{read_batch, read_structured};

use hyper::header::HeaderMap;

use crate::front::problem::{Problem, ProblemKind, quoted};
use crate::intake::content::media_type;

/// How a CloudEvent comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One JSON object.
    Structured,
    /// An array of them.
    Batch,
    /// Attributes in headers, data in the body.
    Binary,
}

impl Mode {
    /// The content mode of a request (section 3 of the binding); `None` where it is no CloudEvent.
    ///
    /// # Errors
    /// 415 for an event format other than JSON.
    pub fn of(headers: &HeaderMap, content_type: Option<&str>) -> Result<Option<Self>, Problem> {
        let media_type = media_type(content_type.unwrap_or_default()).to_ascii_lowercase();
        match media_type.as_str() {
            "application/cloudevents+json" => Ok(Some(Self::Structured)),
            "application/cloudevents-batch+json" => Ok(Some(Self::Batch)),
            other if other.starts_with("application/cloudevents") => {
                let detail = format!(
                    "the event format {} is not read; send application/cloudevents+json or \
                     application/cloudevents-batch+json",
                    quoted(other)
                );
                Err(Problem::new(ProblemKind::UnsupportedFormat, detail))
            }
            _ if ["ce-specversion", "ce-id", "ce-source", "ce-type"].iter().any(|name| headers.contains_key(*name)) => {
                Ok(Some(Self::Binary))
            }
            _ => Ok(None),
        }
    }
}
