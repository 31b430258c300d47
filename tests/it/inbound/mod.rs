//! Webhooks of others: verified, kept, acknowledged, forwarded.

mod burst;
mod crash;
mod forgery;
mod forward;
mod samples;
mod surge;
mod vendor;
mod vendors;
