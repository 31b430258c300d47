//! Open files: every connection is one, and so is every request to an endpoint and every file of the outbox.
//!
//! A process starts with a low limit that it may raise itself, up to a hard one (getrlimit(2)); the low one is for programs
//! that use select(2). Where even the hard one is too low for all that the config allows, connections get less, so that a full
//! house cannot stop deliveries, nor the outbox.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::front::Places;
use crate::limits::{FILES_KEPT, IN_FLIGHT_TOTAL_MAX, LOOKUPS_MAX};

/// Raises the limit of open files of this process as far as it may.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// The places for connections that a config asks for, as far as this process may have so many open files.
pub(super) fn places(config: &Config) -> Places {
    let may = getrlimit(Resource::Nofile).current.and_then(|max| usize::try_from(max).ok());
    let asked = config.api.connections_max;
    let others = for_others(config);
    let all = may.map_or(asked, |may| that_fit(asked, others, may));
    if let Some(may) = may.filter(|_| all < asked) {
        tracing::warn!(
            "[api] max_connections is {asked}, but this process may have only {may} open files, and deliveries and the storage \
             need up to {others} of them: there are places for {all} connections; set LimitNOFILE={} (without systemd: ulimit \
             -Hn), or lower max_connections",
            asked + others,
        );
    }
    Places { all, per_address: config.api.connections_per_address_max }
}

/// Open files that are not connections of clients.
fn for_others(config: &Config) -> usize {
    let in_flight: usize = config.endpoints.values().map(|endpoint| endpoint.in_flight_max as usize).sum();
    in_flight.min(IN_FLIGHT_TOTAL_MAX) + LOOKUPS_MAX + FILES_KEPT
}

/// How many of the places that are `asked` for fit, where `others` are needed of the files that there `may` be. However few
/// there are, a quarter is for clients: a daemon that nobody can reach is of no use either.
fn that_fit(asked: usize, others: usize, may: usize) -> usize {
    asked.min(may.saturating_sub(others).max(may / 4)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_deliveries_and_storage_leave() {
        assert_eq!(that_fit(16_384, 416, 524_288), 16_384);
        assert_eq!(that_fit(16_384, 416, 16_800), 16_384);
        assert_eq!(that_fit(16_384, 416, 16_799), 16_383);
        assert_eq!(that_fit(16_384, 416, 4_096), 3_680);
        assert_eq!(that_fit(16_384, 4_000, 4_096), 1_024, "clients get a quarter");
        assert_eq!(that_fit(100, 4_000, 1_024), 100);
        assert_eq!(that_fit(100, 4_000, 0), 1);
    }

    #[test]
    fn every_request_that_may_be_in_flight_counts() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = |name: &str| {
            format!("[endpoint.{name}]\nurl = \"https://a.example.com/\"\nsign = \"none\"\nmax_in_flight = 1000\n")
        };
        let parse = |text: &str| Config::parse(text, "webhookd.toml", dir.path(), &|_| None).unwrap();
        assert_eq!(for_others(&parse("")), LOOKUPS_MAX + FILES_KEPT);
        assert_eq!(for_others(&parse(&(endpoint("a") + &endpoint("b")))), 2000 + LOOKUPS_MAX + FILES_KEPT);
        let many: String = (0..20).map(|n| endpoint(&format!("e{n}"))).collect();
        assert_eq!(for_others(&parse(&many)), IN_FLIGHT_TOTAL_MAX + LOOKUPS_MAX + FILES_KEPT);
    }
}
