//! What is in force now, and may be exchanged.

use std::sync::{Arc, PoisonError, RwLock};

/// A thing that a reload puts another one in the place of. Whoever has got it keeps it for as long as he needs it.
#[derive(Debug)]
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    /// The first one.
    #[must_use]
    pub fn new(first: T) -> Self {
        Self(RwLock::new(Arc::new(first)))
    }

    /// The one in force. The lock is held for as long as it takes to count a reference.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in force.
    pub fn set(&self, next: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}
