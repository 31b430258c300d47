//! The line of an endpoint in an export, both ways. Whatever is not known of it is left out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::line::{Moment, known};
use crate::clock::UnixMs;
use crate::model::endpoint::{DisabledReason, EndpointRecord, EndpointState, Failing, OpenBreaker};
use crate::model::text::EndpointName;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointLine<'a> {
    endpoint: Cow<'a, str>,
    state: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumed_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_until: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing: Option<FailingLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailingLine {
    since: Moment,
    for_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakerLine {
    since: Moment,
    probe_at: Moment,
    cooldown_ms: u64,
}

/// Writes the line of an endpoint into `line`.
pub(super) fn write(line: &mut Vec<u8>, name: &EndpointName, record: &EndpointRecord) -> serde_json::Result<()> {
    let (reason, at) = match record.state {
        EndpointState::Active | EndpointState::Paused => (None, None),
        EndpointState::Disabled { reason, at } => (Some(reason.word().into()), Some(Moment(at))),
    };
    let shown = EndpointLine {
        endpoint: name.as_str().into(),
        state: record.state.word().into(),
        reason,
        at,
        resumed_at: known(record.resumed_at),
        held_until: known(record.held_until),
        failing: record.failing.map(|Failing { since, for_ms }| FailingLine { since: Moment(since), for_ms }),
        breaker: record.breaker.map(|OpenBreaker { since, probe_at, cooldown_ms }| BreakerLine {
            since: Moment(since),
            probe_at: Moment(probe_at),
            cooldown_ms,
        }),
    };
    serde_json::to_writer(line, &shown)
}

impl EndpointLine<'_> {
    /// What the line says.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn read(&self) -> Result<(EndpointName, EndpointRecord), String> {
        let name = EndpointName::parse(&self.endpoint).map_err(|error| format!("endpoint {error}"))?;
        let state = match (&*self.state, self.reason.as_deref(), self.at) {
            ("active", None, None) => EndpointState::Active,
            ("paused", None, None) => EndpointState::Paused,
            ("disabled", Some(word), Some(Moment(at))) => {
                let reason = DisabledReason::ALL.iter().find(|reason| reason.word() == word);
                EndpointState::Disabled { reason: *reason.ok_or_else(|| format!("unknown reason {word:?}"))?, at }
            }
            ("active" | "paused", ..) => return Err("only a disabled endpoint has reason and at".to_owned()),
            ("disabled", ..) => return Err("a disabled endpoint needs reason and at".to_owned()),
            (other, ..) => {
                return Err(format!("unknown state {other:?} of an endpoint: expected active, paused or disabled"));
            }
        };
        let moment = |at: Option<Moment>| at.map_or(UnixMs(0), |Moment(at)| at);
        let record = EndpointRecord {
            state,
            resumed_at: moment(self.resumed_at),
            held_until: moment(self.held_until),
            failing: self.failing.as_ref().map(|told| Failing { since: told.since.0, for_ms: told.for_ms }),
            breaker: self.breaker.as_ref().map(|told| OpenBreaker {
                since: told.since.0,
                probe_at: told.probe_at.0,
                cooldown_ms: told.cooldown_ms,
            }),
        };
        Ok((name, record))
    }
}
