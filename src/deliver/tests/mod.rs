//! Attempts against real servers on the loopback: well-behaved, hostile, behind TLS, and with endpoints that change meanwhile.

pub(super) mod fixture;
mod hostile;
mod renew;
mod secrecy;
mod secure;
mod wire;
