//! An endpoint as `Debug` shows it.

use std::fmt;

use super::Endpoint;

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
