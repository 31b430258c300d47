//! An attempt: one HTTP request made for a delivery, with its outcome.

use std::fmt;

use crate::clock::UnixMs;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1, over all replays of the delivery.
    pub n: u16,
    /// When it began.
    pub at: UnixMs,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// Why it failed; `None` for a success.
    pub error: Option<AttemptError>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The beginning of the answer's body.
    pub response: Vec<u8>,
}

macro_rules! attempt_errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal $word:literal,)*) => {
        /// Why an attempt failed: a closed set of words, each with a stable code in the storage.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AttemptError {
            $($(#[$doc])* $name,)*
        }

        impl AttemptError {
            /// Every word there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word, as the API and the metrics show it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The stored code; never 0.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }

            /// The error behind a stored code.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

attempt_errors! {
    /// The attempt did not end within its time.
    Timeout = 1 "timeout",
    /// No connection: refused, unreachable, reset while connecting.
    Connect = 2 "connect",
    /// The name did not resolve.
    Dns = 3 "dns",
    /// The TLS handshake failed.
    Tls = 4 "tls",
    /// The address is one that webhookd does not dial; see `allow_networks`.
    AddressRefused = 5 "address_refused",
    /// An answer came, and it was no 2xx.
    Status = 6 "status",
    /// The connection ended, or spoke no HTTP, before an answer came.
    Protocol = 7 "protocol",
    /// The daemon could not read the event back from its storage.
    Storage = 8 "storage",
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_its_word() {
        for error in AttemptError::ALL {
            assert_eq!(AttemptError::from_code(error.code()), Some(*error));
        }
        assert_eq!(AttemptError::from_code(0), None);
    }
}
