//! What the benches share: the daemon as a process of its own, producers, a sink, and what is told of the machine.
#![allow(dead_code, reason = "each bench takes what it needs of this")]

pub(crate) mod connection;
pub(crate) mod daemon;
pub(crate) mod environment;
pub(crate) mod fixed_rate;
pub(crate) mod full_speed;
pub(crate) mod machine;
pub(crate) mod pile;
pub(crate) mod shape;
pub(crate) mod sink;
pub(crate) mod times;

/// Why a bench cannot go on.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
