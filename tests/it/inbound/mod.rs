//! Webhooks of others: verified, kept, acknowledged, forwarded.

mod forgery;
mod forward;
mod samples;
mod vendor;
mod vendors;
