//! What happens at the API, told once.

use crate::outbox::ReadError;

/// Something stored could not be read; the client got a problem without the cause.
#[derive(Debug)]
pub(super) struct ReadFailed<'a> {
    /// Why.
    pub(super) error: &'a ReadError,
}

impl ReadFailed<'_> {
    /// Tells it. The refused request is counted by itself.
    pub(super) fn tell(&self) {
        match self.error {
            // It passes, and the outbox tells once what it is about.
            ReadError::Unavailable(_) => {
                tracing::debug!(error = %self.error, "part of the storage could not be read for a request");
            }
            error => tracing::error!(%error, "a stored record could not be read for a request"),
        }
    }
}
