//! `rate_limit` of an endpoint and of a source.

use super::keys::RATE_LIMIT;
use super::reader::{Item, Reading, Table};
use super::units;
use crate::limits;
use crate::policy::rate::RateLimit;

/// Reads a rate, or a table with a rate and its burst; `with_burst` makes a rate with the burst that it has where none is named.
pub(super) fn read(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    with_burst: fn(u32, u64) -> RateLimit,
) -> Option<RateLimit> {
    if item.value.is_table() {
        let table = Table::open(reading, item, &RATE_LIMIT)?;
        let bursts = 1..=u64::from(limits::RATE_COUNT_MAX);
        let burst = table.get("burst").and_then(|item| item.integer(reading, &bursts));
        let Some(rate) = table.get("rate") else {
            table.error(reading, "rate", "missing; write rate = \"100/s\"");
            return None;
        };
        let rate = read_rate(reading, &rate, with_burst)?;
        let burst = burst.and_then(|burst| u32::try_from(burst).ok()).unwrap_or(rate.burst);
        return Some(RateLimit { burst, ..rate });
    }
    read_rate(reading, item, with_burst)
}

/// A rate whose burst is what it allows in a second, and at least one: third parties post in bursts, and what is refused is not
/// always sent again.
pub(super) fn with_a_second_of_burst(count: u32, per_ms: u64) -> RateLimit {
    let burst = u64::from(count).saturating_mul(1000) / per_ms.max(1);
    RateLimit { count, per_ms, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1) }
}

fn read_rate(reading: &mut Reading<'_>, item: &Item<'_>, with_burst: fn(u32, u64) -> RateLimit) -> Option<RateLimit> {
    let what = "a rate such as \"100/s\", \"600/m\" or \"1000/h\"";
    let text = item.text(reading, what)?;
    match units::parse_rate(text) {
        Ok((count, per_ms)) if (1..=limits::RATE_COUNT_MAX).contains(&count) => Some(with_burst(count, per_ms)),
        Ok(_) => {
            reading.expected(item, &format!("a rate whose number is from 1 to {}", limits::RATE_COUNT_MAX));
            None
        }
        Err(_) => {
            reading.expected(item, what);
            None
        }
    }
}
