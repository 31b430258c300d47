//! What every way in has in common, whoever posts: the API's producers ([`crate::api`]) and third parties ([`crate::inbound`]).
//!
//! | file | job |
//! |---|---|
//! | `readiness` | whether the daemon takes events, and from where requests are served |
//! | `current` | what a reload exchanges |
//! | `targets` | the endpoints of the config, as they are looked up |
//! | `content`, `scan` | a body as content; JSON read once, as text |
//! | `trace` | `traceparent` |
//! | `tally` | what happens here: metrics |

pub mod content;
pub mod current;
pub mod readiness;
pub mod scan;
pub mod tally;
pub mod targets;
pub mod trace;
