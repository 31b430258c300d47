//! What the outbox tells its scheduler: what was there at the start, and what happens from then on.

use std::sync::Arc;

use super::low::StorageLow;
use crate::model::delivery::{DeliveryRef, EventRef, Fallen, Waiting};
use crate::model::event::Event;
use crate::model::roster::EndpointNo;

/// A delivery that was found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It waits.
    Waiting(Waiting),
    /// It is dead, and kept still.
    Dead(Fallen),
}

impl Recovered {
    /// Which delivery.
    #[must_use]
    pub fn delivery(&self) -> DeliveryRef {
        match self {
            Self::Waiting(waiting) => waiting.delivery,
            Self::Dead(fallen) => fallen.delivery,
        }
    }

    /// Whether it waits.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    /// Those that wait, and those that are dead, each in their order.
    pub(super) fn sort_out(found: Vec<Self>) -> (Vec<Waiting>, Vec<Fallen>) {
        let (mut waiting, mut dead) = (Vec::new(), Vec::new());
        for one in found {
            match one {
                Self::Waiting(one) => waiting.push(one),
                Self::Dead(one) => dead.push(one),
            }
        }
        (waiting, dead)
    }
}

/// What the scheduler is told.
#[derive(Debug)]
pub enum News {
    /// Events were accepted and are durable.
    Accepted(Vec<FreshEvent>),
    /// Deliveries were put back to pending.
    Revived(Vec<Waiting>),
    /// Deliveries that are dead were found in a generation that could not be opened at the start, and now is. Those of it that
    /// wait follow as [`News::Revived`].
    Fallen(Vec<Fallen>),
    /// A generation is gone for good, past retention or lost, with all events in it.
    Removed {
        /// Its number.
        generation: u32,
    },
    /// Room runs out: events are refused before long.
    StorageLow(StorageLow),
}

/// An event straight from its acceptance.
#[derive(Clone, Debug)]
pub struct FreshEvent {
    /// Where it lies.
    pub place: EventRef,
    /// The event.
    pub event: Arc<Event>,
    /// Who takes it.
    pub targets: Vec<EndpointNo>,
}
