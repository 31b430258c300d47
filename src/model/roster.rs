//! Small numbers for endpoint names, so that a million waiting deliveries need not each carry a name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::text::EndpointName;

/// An endpoint's number within this process. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointNo(pub u16);

/// All endpoint names that this process has met, in its config or in its storage.
#[derive(Debug, Default)]
pub struct Roster {
    inner: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    by_no: Vec<EndpointName>,
    by_name: HashMap<EndpointName, EndpointNo>,
}

impl Roster {
    /// An empty roster.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The number of `name`, a new one if it was never met.
    ///
    /// # Panics
    /// When the process has met 65,536 names, which the limits of config, storage and reload rule out.
    pub fn number(&self, name: &EndpointName) -> EndpointNo {
        if let Some(no) = self.known(name.as_str()) {
            return no;
        }
        let mut names = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(no) = names.by_name.get(name) {
            return *no;
        }
        let no = EndpointNo(u16::try_from(names.by_no.len()).expect("fewer than 65,536 endpoint names are ever met"));
        names.by_no.push(name.clone());
        names.by_name.insert(name.clone(), no);
        no
    }

    /// How many names would have been met with these.
    pub fn count_with<'a>(&self, names: impl Iterator<Item = &'a EndpointName>) -> usize {
        let known = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        known.by_no.len() + names.filter(|name| !known.by_name.contains_key(*name)).count()
    }

    /// The number of `name`, if it was met.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<EndpointNo> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied()
    }

    /// The name behind `no`.
    ///
    /// # Panics
    /// When `no` came from another roster.
    #[must_use]
    pub fn name(&self, no: EndpointNo) -> EndpointName {
        let names = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        names.by_no.get(usize::from(no.0)).expect("a number is only ever made by its own roster").clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_met_counts_once() {
        let name = |text: &str| EndpointName::parse(text).unwrap();
        let roster = Roster::shared();
        assert_eq!(roster.number(&name("a")), roster.number(&name("a")));
        roster.number(&name("b"));
        assert_eq!(roster.count_with([name("b"), name("c"), name("d")].iter()), 4);
        assert_eq!(roster.known("c"), None);
    }
}
