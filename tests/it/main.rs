//! Integration tests: the real daemon as a process of its own, real receivers, real third-party clients.
//!
//! Tests that need third-party packages are ignored unless `tests/run` has installed those; it runs them all.
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]
#![allow(clippy::disallowed_methods, reason = "tests live on the machine's clock and own their runtime")]

mod accept;
mod access;
mod bad_input;
mod cli_inbound;
mod commands;
mod crash;
mod crash_replay;
mod damage;
mod endpoints;
mod floors;
mod folders;
mod front;
mod guard;
mod inbound;
mod interop;
mod kit;
mod life;
mod listing;
mod long_schedule;
mod power;
mod reload;
mod retry;
mod room;
mod routing;
mod secrets;
mod sim;
mod store;
mod systemd;
mod telling;
mod tls;
mod wire;
