//! What `[delivery]` sets for every endpoint and each `[endpoint.*]` may override.

use ipnet::IpNet;

use super::networks;
use super::reader::{Item, Reading, Table};
use crate::limits;
use crate::policy::retry::RetryPolicy;

/// `[delivery]`: the defaults of every endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Time for a whole attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Most requests in flight to one endpoint.
    pub in_flight_max: u32,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Networks that may be dialled though they are private, loopback, link-local …
    pub allow_networks: Vec<IpNet>,
    /// How much of an answer's body is kept, in bytes.
    pub response_bytes_max: usize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            timeout_ms: 15_000,
            in_flight_max: 32,
            retry: RetryPolicy::default(),
            allow_networks: Vec::new(),
            response_bytes_max: limits::KIB,
        }
    }
}

/// Reads the keys that `[delivery]` and `[endpoint.*]` share; what is not there is as in `base`.
pub(super) fn read(reading: &mut Reading<'_>, table: &Table<'_>, base: &Delivery) -> Delivery {
    let timeout_ms = table.duration_ms(reading, "timeout", &(1..=limits::ATTEMPT_MS_MAX), base.timeout_ms);
    let in_flight = 1..=u64::from(limits::IN_FLIGHT_MAX);
    let in_flight_max = table.get("max_in_flight").and_then(|item| item.integer(reading, &in_flight));
    let waits_ms = table.get("retry").and_then(|item| read_waits(reading, &item));
    let jitter = table.get("jitter").and_then(|item| item.number(reading, &(0.0..=1.0)));
    let hints = 0..=limits::RETRY_WAIT_MS_MAX;
    let retry_after_ms_max = table.duration_ms(reading, "max_retry_after", &hints, base.retry.retry_after_ms_max);
    let allow_networks = table.get("allow_networks").and_then(|item| networks::read(reading, &item));
    let responses = 0..=limits::RESPONSE_LOG_BYTES_MAX as u64;
    let response_bytes = table.get("log_response_bytes").and_then(|item| item.size_bytes(reading, &responses));
    Delivery {
        timeout_ms,
        in_flight_max: in_flight_max.and_then(|n| u32::try_from(n).ok()).unwrap_or(base.in_flight_max),
        retry: RetryPolicy {
            waits_ms: waits_ms.unwrap_or_else(|| base.retry.waits_ms.clone()),
            jitter: jitter.unwrap_or(base.retry.jitter),
            retry_after_ms_max,
        },
        allow_networks: allow_networks.unwrap_or_else(|| base.allow_networks.clone()),
        response_bytes_max: response_bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(base.response_bytes_max),
    }
}

fn read_waits(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Vec<u64>> {
    let what = "a list of waits such as [\"5s\", \"5m\", \"2h\"] (an empty list: one attempt)";
    let items = item.list(reading, what, limits::RETRY_WAITS_MAX)?;
    let range = 1..=limits::RETRY_WAIT_MS_MAX;
    Some(items.iter().filter_map(|item| item.duration_ms(reading, &range)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schedule_is_that_of_the_contract() {
        let shown: Vec<_> =
            Delivery::default().retry.waits_ms.iter().map(|ms| super::super::units::show_duration_ms(*ms)).collect();
        assert_eq!(shown, ["5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "1d"]);
    }
}
