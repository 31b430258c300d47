//! The HTTP front that every listener of the daemon has: sockets, connections and their limits, bodies, problems. What is served
//! behind it ([`crate::api`]) is a function from a request to an answer.
//!
//! A connection passes, in this order: the listener (`listen`, `serve`), a place among the connections (`connections`), what
//! stands before HTTP (`arrival`), the socket's habits (`wire`), and then hyper, which hands each request on with its [`Peer`]. What goes on on it, and what is over
//! when, is its `pulse`.
//!
//! | file | job |
//! |---|---|
//! | `listen` | binds TCP and unix sockets, or takes those of systemd |
//! | `serve` | accepts connections, finds each a place or turns it away |
//! | `connections`, `refusal` | the places, in all and for one address; what is told to who finds none |
//! | `arrival` | before HTTP: the header of a proxy, the TLS handshake |
//! | `proxies`, `proxy_header` | who speaks the PROXY protocol; its headers |
//! | `connection` | drives one connection to its end |
//! | `pulse`, `heads`, `outgoing` | the phases of a connection, each with its limit, and where they show |
//! | `peer` | who is at the other end |
//! | `tls` | TLS, and who speaks it badly |
//! | `wire` | closing gently, and never waiting without end |
//! | `unread` | what is answered to a request that hyper could not read |
//! | `body` | request bodies under their limits |
//! | `problem`, `answer` | what is answered |
//! | `tally` | what happens here: log lines and metrics |
//!
//! Time limits on sockets run on tokio's clock, not on the injected one: they guard the daemon against its clients, and a
//! clock that is driven through three days in a test would end every request.

pub mod answer;
mod arrival;
pub mod body;
mod connection;
mod connections;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod heads;
mod listen;
mod outgoing;
mod peer;
pub mod problem;
mod proxies;
mod proxy_header;
mod pulse;
mod refusal;
mod serve;
pub mod tally;
mod tls;
mod unread;
mod wire;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use connection::drive;
pub use connections::{Connections, Places};
pub use listen::{BindError, Listener, Place, SocketFile};
pub use peer::{Origin, Peer};
pub use proxies::ProxyHeaders;
pub use serve::{Serving, serve};
pub use tls::{Tls, TlsError, TlsSettings};
