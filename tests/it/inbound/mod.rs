//! Webhooks of others: verified, kept, acknowledged, forwarded.

mod burst;
mod crash;
mod forward;
mod surge;
