//! The head of a delivery's request.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Method, Request, Uri};
use url::Position;

use super::body::{self, Rendered};
use super::hop::belongs_to_connection;
use crate::clock::UnixMs;
use crate::config::{Endpoint, Format};
use crate::model::event::Event;
use crate::signature::{Scheme, Signed, sign};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("webhookd/", env!("CARGO_PKG_VERSION")));

/// What all requests to one endpoint have in common, made once.
pub(super) struct Template {
    endpoint: Arc<Endpoint>,
    uri: Uri,
    /// `user-agent` and the endpoint's own headers.
    headers: HeaderMap,
    /// Whether its signatures cover our `webhook-id` or `webhook-timestamp`.
    signs_ours: bool,
}

impl fmt::Debug for Template {
    /// Path and query of the URL may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, uri: _, headers, signs_ours: _ } = self;
        f.debug_struct("Template").field("endpoint", endpoint).field("headers", headers).finish_non_exhaustive()
    }
}

impl Template {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Result<Self, InvalidUri> {
        let uri = endpoint.url[..Position::AfterQuery].parse()?;
        let mut headers = HeaderMap::with_capacity(endpoint.headers.len() + 8);
        for (name, value) in &endpoint.headers {
            if !belongs_to_connection(name) {
                headers.append(name, value.clone());
            }
        }
        headers.insert(header::USER_AGENT, USER_AGENT);
        let signs_ours = endpoint.signing.iter().any(Scheme::relies_on_delivery_headers);
        Ok(Self { endpoint, uri, headers, signs_ours })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The request of one attempt: rendered once, signed over the very bytes that are sent.
    pub(super) fn request(&self, event: &Event, n: u16, at: UnixMs) -> Request<Full<Bytes>> {
        let Rendered { body, content_type } = body::render(event, self.endpoint.format);
        let mut headers = match self.endpoint.format {
            Format::Raw if !event.headers.is_empty() => self.with_kept(event),
            _ => self.headers.clone(),
        };
        headers.insert(header::CONTENT_TYPE, content_type);
        if !self.passes_on_signed(event) {
            if let Ok(id) = HeaderValue::from_str(event.id.as_str()) {
                headers.insert(WEBHOOK_ID, id);
            }
            headers.insert(WEBHOOK_TIMESTAMP, at.secs().into());
        }
        headers.insert(WEBHOOK_ATTEMPT, n.into());
        if let Some(traceparent) = event.traceparent.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(TRACEPARENT, traceparent);
        }
        if !self.endpoint.signing.is_empty() {
            let signed =
                Signed { id: &event.id, timestamp_secs: at.secs(), body: &body, url: self.endpoint.url.as_str() };
            // Each stands in a header of its own, and in the place of one that came with the event.
            for (name, value) in sign(&self.endpoint.signing, &signed) {
                headers.insert(name, value);
            }
        }

        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    /// Whether id, timestamp and signature go on as a third party sent them: it has signed by Standard Webhooks, the app gets the
    /// very body that was signed, and nothing that we sign needs these headers for itself.
    fn passes_on_signed(&self, event: &Event) -> bool {
        self.endpoint.format == Format::Raw && !self.signs_ours && came_signed(event)
    }

    /// The headers of the inbound request in their order, and ours, which win. What its sender would take compressed, we would not
    /// read; and a signature without the id and timestamp it is for fits nothing.
    fn with_kept(&self, event: &Event) -> HeaderMap {
        let unfit = came_signed(event) && !self.passes_on_signed(event);
        let stays = |name: &HeaderName| {
            belongs_to_connection(name)
                || name == header::ACCEPT_ENCODING
                || self.headers.contains_key(name)
                || (unfit && name == WEBHOOK_SIGNATURE)
        };
        let mut headers = HeaderMap::with_capacity(event.headers.len() + self.headers.len() + 8);
        for kept in &event.headers {
            let name = HeaderName::from_bytes(kept.name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&kept.value)) else { continue };
            // A map has room for 32,768 headers; far fewer come in.
            if !stays(&name) && headers.try_append(name, value).is_err() {
                break;
            }
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers
    }
}

/// Whether an inbound request came with the three headers of Standard Webhooks.
fn came_signed(event: &Event) -> bool {
    let has = |wanted: &HeaderName| event.headers.iter().any(|kept| *kept.name == *wanted.as_str());
    [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE].iter().all(has)
}
