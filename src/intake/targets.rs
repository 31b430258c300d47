//! The endpoints of the config, as the API looks them up.

use std::sync::Arc;

use crate::config::{Config, Endpoint};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::EndpointName;

/// One endpoint.
#[derive(Debug)]
pub struct Target {
    /// Its number.
    pub no: EndpointNo,
    /// Its config.
    pub endpoint: Arc<Endpoint>,
}

impl Target {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &EndpointName {
        &self.endpoint.name
    }
}

/// All endpoints of the config, by name.
#[derive(Debug)]
pub struct Targets {
    sorted: Vec<Target>,
}

impl Targets {
    /// Takes the endpoints of a config.
    #[must_use]
    pub fn new(config: &Config, roster: &Roster) -> Self {
        let target =
            |endpoint: &Arc<Endpoint>| Target { no: roster.number(&endpoint.name), endpoint: Arc::clone(endpoint) };
        let mut sorted: Vec<_> = config.endpoints.values().map(target).collect();
        sorted.sort_by(|one, other| one.name().cmp(other.name()));
        Self { sorted }
    }

    /// The endpoint of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Target> {
        let place = self.sorted.binary_search_by(|target| target.name().as_str().cmp(name)).ok()?;
        self.sorted.get(place)
    }

    /// Those that take an event of this type.
    #[must_use]
    pub fn taking(&self, event_type: &str) -> Vec<EndpointNo> {
        let takes = |target: &&Target| target.endpoint.events.takes(event_type);
        self.sorted.iter().filter(takes).map(|target| target.no).collect()
    }
}
