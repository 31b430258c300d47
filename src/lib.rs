//! webhookd.

pub mod clock;
pub mod config;
pub mod deliver;
pub mod dispatch;
pub mod limits;
pub mod model;
pub mod outbox;
pub mod policy;
pub mod schedule;
pub mod signature;
pub mod wheel;
