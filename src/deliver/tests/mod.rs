//! Attempts against real servers on the loopback: well-behaved, hostile, and behind TLS.

pub(super) mod fixture;
mod hostile;
mod secure;
mod wire;
