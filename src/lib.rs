//! webhookd: a webhook daemon that never loses a webhook. One binary, an embedded outbox, no database beside it.
//!
//! # The path of an event
//! 1. [`api`] reads a request under its limits, parses it into an event that cannot be wrong and finds the endpoints that take
//!    it ([`policy::routing`]). [`inbound`] does the same with what third parties post, once it has verified it.
//! 2. [`outbox`] takes it through a bounded queue. One thread drains whatever waits, writes it as one commit, makes it durable
//!    once, and only then is the request answered 202. A full queue or disk is a 503; what was accepted is never dropped.
//! 3. The fresh event goes to [`dispatch`] straight from memory. The task there owns the [`schedule`]: a lane for each endpoint
//!    with its permits, and the timing [`wheel`] for what has to wait.
//! 4. Each attempt is a task of its own. [`deliver`] renders the body, signs it ([`signature`]), judges the address it dials,
//!    sends, reads a bounded answer and classifies it ([`policy::answer`]).
//! 5. The outcome goes to the outbox again and, for a retry, the next due time back on the wheel ([`policy::retry`]).
//! 6. After a crash everything accepted and not finished is pending again: at least once, always with the same
//!    `webhook-id`.
//!
//! # The floors
//! From the ground up; a file uses only what stands on its own floor or below, and a test keeps it so.
//!
//! | floor | what it is |
//! |---|---|
//! | [`limits`], [`clock`] | every maximum of the program; time, injected |
//! | [`model`] | event, endpoint, delivery, attempt: pure data |
//! | [`signature`] | every signature scheme once, both ways; pure |
//! | [`wheel`], [`policy`] | the timing wheel; routing, retry schedule, the meaning of answers; pure |
//! | [`config`] | the TOML file, checked |
//! | [`observe`] | one struct a happening: log line and metric |
//! | [`systemd`] | what systemd is told, and what it hands over |
//! | [`outbox`], [`deliver`] | the durable store, the only place that names its engine; one job, one attempt |
//! | [`schedule`] | who goes next; pure |
//! | [`dispatch`] | job, attempt, outcome, outbox, and the schedule again |
//! | [`front`] | the HTTP front of every listener: sockets, connections, limits, bodies, problems |
//! | [`intake`] | what every way in has in common |
//! | [`inbound`] | what third parties post: verified, kept, acknowledged |
//! | [`api`] | what producers and operators ask |
//! | [`daemon`] | the composition root: start, ready, reload, drain |
//! | [`cli`] | one file a command |
//!
//! Above them, in tests and under the feature `fuzzing` alone, stands what `fuzz/` runs.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod deliver;
pub mod dispatch;
pub mod front;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod inbound;
pub mod intake;
pub mod limits;
pub mod model;
pub mod observe;
pub mod outbox;
pub mod policy;
pub mod schedule;
pub mod signature;
pub mod systemd;
pub mod wheel;
