//! webhookd.

pub mod api;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod limits;
pub mod model;
pub mod observe;
pub mod outbox;
pub mod policy;
pub mod schedule;
pub mod signature;
pub mod wheel;
