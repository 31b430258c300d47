//! Endpoints and sources as `Debug` shows them.

use std::fmt;

use super::{Endpoint, Respond, Source};

impl fmt::Debug for Endpoint {
    /// Of the URL only where it leads to: path and query may hold credentials. The values of headers, secrets and keys hide
    /// themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            url,
            events,
            signing,
            format,
            headers,
            permanent,
            tls,
            timeout_ms,
            in_flight_max,
            retry,
            allow_networks,
            response_bytes_max,
            order,
            on_dead,
            rate_limit,
            breaker,
            disable_after_ms,
        } = self;
        f.debug_struct("Endpoint")
            .field("name", name)
            .field("origin", &url.origin().ascii_serialization())
            .field("events", events)
            .field("signing", signing)
            .field("format", format)
            .field("headers", headers)
            .field("permanent", permanent)
            .field("tls", tls)
            .field("timeout_ms", timeout_ms)
            .field("in_flight_max", in_flight_max)
            .field("retry", retry)
            .field("allow_networks", allow_networks)
            .field("response_bytes_max", response_bytes_max)
            .field("order", order)
            .field("on_dead", on_dead)
            .field("rate_limit", rate_limit)
            .field("breaker", breaker)
            .field("disable_after_ms", disable_after_ms)
            .finish()
    }
}

impl fmt::Debug for Source {
    /// Of the URL only where it leads to: its path may be known to few. Secrets hide themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            verify,
            event_type,
            dedup,
            key,
            allow_networks,
            trusted_proxies,
            respond,
            rate_limit,
            public_url,
            verify_token,
        } = self;
        f.debug_struct("Source")
            .field("name", name)
            .field("verify", verify)
            .field("event_type", event_type)
            .field("dedup", dedup)
            .field("key", key)
            .field("allow_networks", allow_networks)
            .field("trusted_proxies", trusted_proxies)
            .field("respond", respond)
            .field("rate_limit", rate_limit)
            .field("public_origin", &public_url.as_ref().map(|url| url.origin().ascii_serialization()))
            .field("verify_token", verify_token)
            .finish()
    }
}

impl fmt::Debug for Respond {
    /// Of the body only how long it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, content_type, body } = self;
        f.debug_struct("Respond")
            .field("status", status)
            .field("content_type", content_type)
            .field("body_bytes", &body.len())
            .finish()
    }
}
