//! Job, attempt, outcome, outbox, and the schedule again.
//!
//! One task owns the [`Schedule`](crate::schedule::Schedule) and all that is known of the endpoints' health; everybody else
//! sends it messages. It never waits for the disk or the network: each attempt is a task of its own, started with its permit
//! taken, which reads the event if memory does not have it, makes the attempt, writes the outcome to the outbox and reports
//! back.
//!
//! | module | job |
//! |---|---|
//! | `decide` | what an outcome means for the delivery and its endpoint; pure |
//! | `attempt` | one attempt from start to settlement |
//! | `start` | what a dispatcher is made of |
//! | `run` | the task that owns the schedule: starts, news, ends |
//! | `answers` | what it answers operators |
//! | `account` | what is known of each endpoint, and what of it outlives a restart |
//! | `health` | how each endpoint is doing |
//! | `liveness` | whether the writer and the task answer |
//! | `report` | what happens, told as operational events |
//! | `control` | what operators may ask |

mod account;
mod answers;
mod attempt;
mod control;
mod decide;
mod health;
mod liveness;
mod report;
mod run;
mod start;
#[cfg(test)]
mod tests;

pub use control::{Control, ControlError};
pub use health::{BreakerHealth, EndpointHealth, LastError};
pub use liveness::{Pulse, Silent};
pub use start::{Dispatcher, Running, admit, blocking, recover};
