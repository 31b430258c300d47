//! Which events an endpoint takes.

/// An endpoint's `events` list.
#[derive(Clone, Debug)]
pub struct TypeFilter;

impl TypeFilter {
    /// Whether an event of this type passes.
    #[must_use]
    pub fn takes(&self, _event_type: &str) -> bool {
        true
    }
}
