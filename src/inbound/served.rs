//! A source with what is made of its config once.

use std::sync::Arc;

use super::pace::SharedPace;
use super::pick::Places;
use crate::config::Source;

/// A source as it is served.
#[derive(Debug)]
pub(super) struct Served {
    /// Its config.
    pub(super) source: Arc<Source>,
    /// What is read from its requests, and where it stands.
    pub(super) places: Places,
    /// Its rate; `None`: everything is taken.
    pub(super) pace: Option<SharedPace>,
}

impl Served {
    /// A source, in the place of the one that had its name before.
    pub(super) fn new(source: Arc<Source>, before: Option<&Self>) -> Self {
        let known = before.and_then(|served| served.pace.as_ref());
        let pace = source.rate_limit.map(|limit| match known {
            Some(pace) if pace.keeps(limit) => pace.clone(),
            _ => SharedPace::new(limit),
        });
        Self { places: Places::new(&source), pace, source }
    }
}
