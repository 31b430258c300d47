//! Generations that the writer had to let go of after a failure: they take no more events, and are not sealed yet.

use super::writer::Writer;

/// Shortest time between two tries to seal what a failure left unsealed, in milliseconds.
const SEAL_AGAIN_MS: u64 = 10_000;

impl Writer {
    /// Seals generations that a failure left behind unsealed, so that they can be removed in their time.
    pub(super) fn seal_left_over(&mut self) {
        let now = self.clock.mono();
        if now < self.seal_again {
            return;
        }
        let current = self.current.as_ref().map(|current| current.slot.no());
        for slot in self.store.slots() {
            if slot.is_sealed() || Some(slot.no()) == current {
                continue;
            }
            self.seal_again = now.plus_ms(SEAL_AGAIN_MS);
            let sealed = self.store.open(&slot).and_then(|generation| slot.seal(&generation));
            if let Err(error) = sealed {
                tracing::warn!(generation = slot.no(), %error, "a generation could not be sealed; it is tried again");
                self.abandon(slot.no());
            }
        }
    }
}
