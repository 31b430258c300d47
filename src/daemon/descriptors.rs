//! Open files: every connection is one, and so is every request to an endpoint and every file of the outbox.
//!
//! A process starts with a low limit that it may raise itself, up to a hard one (getrlimit(2)); the low one is for programs
//! that use select(2). Where even the hard one is too low for all that the config allows, connections get less, so that a full
//! house cannot stop deliveries, nor the outbox.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::table::Table;
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

/// The places for connections that a config asks for at one of the tables that are `served`, as far as this process may have so
/// many open files.
pub(super) fn places(config: &Config, table: Table, served: &[Table]) -> Places {
    let asked: Vec<_> = served.iter().map(|table| table.terms(config).connections_max).collect();
    let terms = table.terms(config);
    let per_address = terms.connections_per_address_max;
    let may = getrlimit(Resource::Nofile).current.and_then(|max| usize::try_from(max).ok());
    let Some(may) = may else { return Places { all: terms.connections_max, per_address } };
    let others = for_others(config);
    let given = served.iter().zip(that_fit(&asked, others, may)).find(|(one, _)| **one == table);
    let all = given.map_or(terms.connections_max, |(_, all)| all);
    if all < terms.connections_max {
        let needed = asked.iter().sum::<usize>() + others;
        tracing::warn!(
            "[{}] max_connections is {}, but this process may have only {may} open files, and deliveries and the storage need up to \
             {others} of them: there are places for {all} connections; set LimitNOFILE={needed} (without systemd: ulimit -Hn), or \
             lower max_connections",
            table.word(),
            terms.connections_max,
        );
    }
    Places { all, per_address }
}

/// Open files that are not connections of clients.
fn for_others(config: &Config) -> usize {
    let in_flight: usize = config.endpoints.values().map(|endpoint| endpoint.in_flight_max as usize).sum();
    in_flight.min(IN_FLIGHT_TOTAL_MAX) + LOOKUPS_MAX + FILES_KEPT
}

/// How many of the places that each listener has `asked` for fit, where `others` are needed of the files that there `may` be.
/// However few there are, a quarter is for clients: a daemon that nobody can reach is of no use either. Listeners share evenly,
/// and what one does not need is the other's: a crowd at one door must not shut the other.
fn that_fit(asked: &[usize], others: usize, may: usize) -> Vec<usize> {
    let mut room = may.saturating_sub(others).max(may / 4);
    let mut given = vec![0; asked.len()];
    let mut by_need: Vec<usize> = (0..asked.len()).collect();
    by_need.sort_by_key(|at| asked[*at]);
    for (done, at) in by_need.into_iter().enumerate() {
        given[at] = asked[at].min(room / (asked.len() - done)).max(1);
        room = room.saturating_sub(given[at]);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_deliveries_and_storage_leave() {
        let one = |asked, others, may| that_fit(&[asked], others, may)[0];
        assert_eq!(one(16_384, 416, 524_288), 16_384);
        assert_eq!(one(16_384, 416, 16_800), 16_384);
        assert_eq!(one(16_384, 416, 16_799), 16_383);
        assert_eq!(one(16_384, 416, 4_096), 3_680);
        assert_eq!(one(16_384, 4_000, 4_096), 1_024, "clients get a quarter");
        assert_eq!(one(100, 4_000, 1_024), 100);
        assert_eq!(one(100, 4_000, 0), 1);
    }

    #[test]
    fn two_listeners_share_evenly_and_what_one_does_not_need_is_the_others() {
        assert_eq!(that_fit(&[16_384, 16_384], 1000, 65_536), [16_384, 16_384]);
        assert_eq!(that_fit(&[16_384, 16_384], 1000, 21_000), [10_000, 10_000]);
        assert_eq!(that_fit(&[100, 16_384], 1000, 5_000), [100, 3_900]);
        assert_eq!(that_fit(&[16_384, 100], 1000, 5_000), [3_900, 100]);
        assert_eq!(that_fit(&[16_384, 16_384], 1000, 0), [1, 1]);
    }

    #[test]
    fn the_places_of_each_table_are_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let inbound = "max_connections_per_address = 3\n";
        let text = format!("[api]\nmax_connections = 7\n{inbound}[storage]\ndir = \"data\"\n");
        let config = Config::parse(&text, "webhookd.toml", dir.path(), &|_| None).unwrap();
        assert_eq!(places(&config, Table::Api, &Table::ALL), Places { all: 7, per_address: 3 });
        let inbound = places(&config, Table::Inbound, &Table::ALL);
        assert_eq!(inbound.per_address, crate::limits::CONNECTIONS_PER_ADDRESS_DEFAULT);
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
