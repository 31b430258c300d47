//! The HTTP front that every listener of the daemon has: sockets, connections and their limits, bodies, problems. What is served
//! behind it ([`crate::api`]) is a function from a request to an answer.
//!
//! A connection passes, in this order: the listener (`listen`), a place among the connections and its time limits (`serve`), the
//! socket's habits (`wire`), and then hyper, which hands each request on with its [`Peer`].
//!
//! | file | job |
//! |---|---|
//! | `listen` | binds TCP and unix sockets |
//! | `serve` | accepts connections and drives each in a task |
//! | `peer` | who is at the other end |
//! | `wire` | closing gently, and never waiting without end |
//! | `unread` | what is answered to a request that hyper could not read |
//! | `body` | request bodies under their limits |
//! | `problem`, `answer` | what is answered |
//! | `tally` | what happens here: log lines and metrics |
//!
//! Time limits on sockets run on tokio's clock, not on the injected one: they guard the daemon against its clients, and a
//! clock that is driven through three days in a test would end every request.

pub mod answer;
pub mod body;
mod listen;
mod peer;
pub mod problem;
mod serve;
pub mod tally;
mod unread;
mod wire;

pub use listen::{BindError, Listener, Place, SocketFile};
pub use peer::{Origin, Peer};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use serve::drive;
pub use serve::{Serving, serve};
