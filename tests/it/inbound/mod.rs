//! Webhooks of others: verified, kept, acknowledged, forwarded.

mod forward;
